"""Asking a node over JSON-RPC, and believing nothing that is not checked.

Runs on CPython with aiohttp.  Every answer is taken apart strictly and bounded in size and time.  What
a node says about itself (heights, balances to show) is only well-formed; what counts comes as evidence
for `LightClient`.  Nothing is repeated here: an error's `is_retryable` says whether asking again can
help, and NodeBusy says after how long.

    NodeUnavailable  no connection, a timeout, an HTTP error            ask again, or another node
    NodeBusy         it is full, or has no block yet                    ask again after retry_after_ms
    NodeRefused      it will not do that; `reason` is the label         no
    Refused          it will not take this transaction; `reason`        no, unless the Reason says so
    NodeLied         an answer that no honest node gives                no: leave this node
    TrustError       headers that do not follow (from `follow` only)    no: leave this node
"""

import json
from dataclasses import dataclass
from types import TracebackType

import aiohttp

from chain_node.entry import conduct_key
from chain_node.errors import (
    EvidenceError,
    HeaderError,
    NodeBusy,
    NodeLied,
    NodeRefused,
    NodeUnavailable,
    Refused,
    WireError,
)
from chain_node.escrow import escrow_key
from chain_node.evidence import PATH_MAX, InclusionProof, Link, StateEvidence, TransactionEvidence
from chain_node.fields import INT_MAX
from chain_node.genesis import GENESIS_SIZE_MAX, Genesis
from chain_node.light_client import LightClient, TrustedHead
from chain_node.mandate import mandate_key
from chain_node.reason import Reason
from chain_node.rpc_format import HANDOVERS_MAX, HEADERS_MAX, INTERNAL_ERROR, from_hex
from chain_node.transaction import RECEIPT_SIZE_MAX, SUPPLY_UCPC, TX_SIZE_LIMIT, Transaction, transaction_hash
from chain_node.validator_set import ENTRY_KEY, NOTICE_BLOCKS
from puf.did import did_cpc
from puf.merkle_map import PROOF_SIZE_MAX

ANSWER_SIZE_MAX = 1 << 24
"""Bytes of an answer that are read at most."""
TEXT_SIZE_MAX = 1_000
TIMEOUT_MS = 10_000
LOOK_AFTER_BLOCKS = NOTICE_BLOCKS // 2
"""How often who follows asks who takes over: twice within the time that any change must be known before."""


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """What a node says about itself and its chain; unproven."""

    name: str
    chain_id: bytes
    height: int
    block_hash: bytes
    time_ms: int
    validator_count: int
    quorum: int
    fee_min_ucpc: int
    free_tx_per_day: int
    block_period_ms: int
    pool_count: int
    trouble: str
    """Why it makes no blocks at present; empty when all is well."""


@dataclass(frozen=True, slots=True)
class TransactionAnswer:
    """What a node says about a transaction."""

    status: str
    """One of "final", "pending", "refused" (given up by its pool), "unknown"."""
    evidence: TransactionEvidence | None = None
    """When final: give it to `LightClient.confirm_transaction`."""
    reason: Reason | None = None
    """When refused."""
    message: str = ""
    """When refused, for people."""


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """What a node says about an account."""

    evidence: StateEvidence
    """Give it to `LightClient.confirm_account` for the balance that counts."""
    next_nonce: int
    """For the next transaction, past those that wait in this node's pool; unproven."""


@dataclass(frozen=True, slots=True)
class HistoryAnswer:
    """What a node says an account has done; that it is all of it, nobody proves."""

    tx_hashes: tuple[bytes, ...]
    """The newest first: give each to `get_transaction`."""
    before: tuple[int, int] | None
    """For the next page; None: there is no more here."""


@dataclass(frozen=True, slots=True)
class DidAnswer:
    """What a node says about a did:cpc."""

    evidence: StateEvidence
    """Give it to `LightClient.confirm_did`, or with `version` to `confirm_did_at`."""
    version: int | None
    """Which replaced version the evidence shows; None: the present entry.  Unproven."""


class NodeClient:
    """Speaks to one node.  timeout_ms: for a whole call.  Use as `async with`, or `close` it.

    Raises the errors of this file's head; WireError never, what a node sends wrongly is NodeLied.
    """

    def __init__(self, url: str, timeout_ms: int = TIMEOUT_MS) -> None:
        self.url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_ms / 1000)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "NodeClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        if self._session:
            await self._session.close()
            self._session = None

    async def chain_info(self) -> ChainInfo:
        """What the node says about itself and its chain."""
        answer = await self._call("chain_info", {})
        return ChainInfo(
            name=answer.text("name"),
            chain_id=answer.blob("chain_id", 32, 32),
            height=answer.integer("height"),
            block_hash=answer.blob("block_hash", 32, 32),
            time_ms=answer.integer("time_ms"),
            validator_count=answer.integer("validator_count"),
            quorum=answer.integer("quorum"),
            fee_min_ucpc=answer.integer("fee_min_ucpc"),
            free_tx_per_day=answer.integer("free_tx_per_day"),
            block_period_ms=answer.integer("block_period_ms"),
            pool_count=answer.integer("pool_count"),
            trouble=answer.text("trouble"),
        )

    async def ask(self, method: str) -> dict[str, object]:
        """What a node answers to a method without params, as it is: to be shown, and not to be believed."""
        return (await self._call(method, {})).value

    async def genesis(self) -> Genesis:
        """The chain's genesis.  Trust it only if its `chain_id` is the one you know."""
        answer = await self._call("genesis", {})
        data = answer.blob("genesis", GENESIS_SIZE_MAX)
        try:
            return Genesis.decode(data)
        except WireError as error:
            raise NodeLied(self.url, str(error)) from error

    async def headers(self, first: int, count: int = HEADERS_MAX) -> list[Link]:
        """Headers with certificates, rising from height `first`, at most `count`; fewer at the head."""
        answer = await self._call("headers", {"from": first, "count": count})
        links = [self._link(_Answer(self.url, item, "a header")) for item in answer.items("headers", count)]
        for place, link in enumerate(links):
            if link.header.height != first + place:
                raise NodeLied(self.url, f"asked for header {first + place}, got {link.header.height}")
        return links

    async def follow(self, client: LightClient, height: int | None = None) -> TrustedHead:
        """Bring a light client up to the node's head, or at least to `height` if the node is that far.

        What is more than HEADERS_MAX blocks away, or not kept by the node, is reached in one leap.  Who
        certifies, and who takes over, is asked for often enough that no end of a set of validators is missed.
        Raises TrustError as well, from what the node showed; the client's head is then the last right one.
        """
        begin = client.head.height
        while height is None or client.head.height < height:
            # The head's own header comes along, so that a node on another branch is noticed at once.
            before = client.head.height
            links = await self.headers(max(before, 1))
            if (not links or len(links) == HEADERS_MAX) and await self._leap(client):
                continue
            if any(not client.validators.names(link.header) for link in links):
                await self._learn_changes(client)
            client.follow(links)
            if client.head.height == before or len(links) < HEADERS_MAX:
                break
        await self._look_at_validators(client, begin)
        return client.head

    async def handovers(self, first: int) -> list[StateEvidence]:
        """Evidence of each change of validators from that to set `first` on, for `LightClient.learn`.

        At most HANDOVERS_MAX; fewer when there are no more.
        """
        answer = await self._call("handovers", {"from": first, "count": HANDOVERS_MAX})
        items = answer.items("handovers", HANDOVERS_MAX)
        return [self._state_evidence(_Answer(self.url, item, "a handover")) for item in items]

    async def submit(self, transaction: Transaction) -> bytes:
        """Hand a transaction to the node's pool; its hash.  Harmless to repeat.

        Raises Refused with its Reason.  Accepted is not final: ask `get_transaction`.
        """
        answer = await self._call("tx_submit", {"tx": transaction.data.hex()})
        tx_hash = answer.blob("tx_hash", 32, 32)
        if tx_hash != transaction.tx_hash:
            raise NodeLied(self.url, f"it took {tx_hash.hex()} for {transaction.tx_hash.hex()}")
        return tx_hash

    async def get_transaction(self, tx_hash: bytes) -> TransactionAnswer:
        """What became of a transaction, with the evidence when it is final."""
        answer = await self._call("tx_get", {"tx_hash": tx_hash.hex()})
        status = answer.text("status")
        if status == "final":
            return TransactionAnswer(status, evidence=self._evidence(answer, tx_hash))
        if status == "refused":
            reason = _reason(answer.text("reason"))
            if reason is None:
                raise NodeLied(self.url, "refused for no known reason")
            return TransactionAnswer(status, reason=reason, message=answer.text("message"))
        if status not in ("pending", "unknown"):
            raise NodeLied(self.url, f"no transaction is {status!r}")
        return TransactionAnswer(status)

    async def get_account(self, public: bytes) -> AccountAnswer:
        """An account after the node's head."""
        answer = await self._call("account_get", {"account": public.hex()})
        return AccountAnswer(self._state_evidence(answer), answer.integer("next_nonce"))

    async def get_state(self, key: bytes) -> StateEvidence:
        """What the state after the node's head says under `key`: see `wire.anchor_key` and its like."""
        return self._state_evidence(await self._call("state_get", {"key": key.hex()}))

    async def get_history(
        self, public: bytes, count: int, before: tuple[int, int] | None = None
    ) -> HistoryAnswer:
        """A page of what an account sent and received, the newest first, below (height, index)."""
        params: dict[str, object] = {"account": public.hex(), "count": count}
        if before:
            params |= {"before_height": before[0], "before_index": before[1]}
        answer = await self._call("account_history", params)
        entries = [_Answer(self.url, item, "an entry") for item in answer.items("entries", count)]
        following = None
        if answer.value.get("before") is not None:
            place = _Answer(self.url, answer.value["before"], "before")
            following = (place.integer("height"), place.integer("index"))
            if before and following >= before:
                raise NodeLied(self.url, f"after {before} comes {following}: its pages have no end")
        return HistoryAnswer(tuple(entry.blob("tx_hash", 32, 32) for entry in entries), following)

    async def get_did(self, name: bytes, height: int | None = None) -> DidAnswer:
        """A did:cpc after the node's head, or the version of it that counts for block `height`."""
        params: dict[str, object] = {"did": did_cpc(name)}
        if height is not None:
            params["height"] = height
        answer = await self._call("did_get", params)
        version = None if answer.value.get("version") is None else answer.integer("version")
        return DidAnswer(self._state_evidence(answer), version)

    async def get_escrow(self, payer: bytes, ident: bytes) -> StateEvidence:
        """The payer's escrow of this id after the node's head, for `LightClient.confirm_escrow`."""
        return await self.get_state(escrow_key(payer, ident))

    async def get_mandate(self, payer: bytes, operator: bytes) -> StateEvidence:
        """What the operator may spend of the payer's, for `LightClient.confirm_mandate`."""
        return await self.get_state(mandate_key(payer, operator))

    async def get_conduct(self, public: bytes) -> StateEvidence:
        """How a proposer or validator has behaved, for `LightClient.confirm_conduct`."""
        return await self.get_state(conduct_key(public))

    async def fund(self, public: bytes, amount_ucpc: int) -> bytes:
        """Have a development chain's treasury pay an account; the hash of its transaction.

        Raises NodeRefused with reason "method" on any other chain.
        """
        answer = await self._call("dev_fund", {"account": public.hex(), "amount_ucpc": amount_ucpc})
        return answer.blob("tx_hash", 32, 32)

    # Inside

    async def _leap(self, client: LightClient) -> bool:
        """Trust the node's head by its certificate; False: it is not beyond the client's."""
        try:
            evidence = await self.get_state(ENTRY_KEY)
        except NodeBusy:
            return False
        if evidence.link.header.height <= client.head.height:
            return False
        await self._learn(client, evidence)
        client.leap(evidence)
        return True

    async def _look_at_validators(self, client: LightClient, begin: int) -> None:
        """Have the node prove who takes over, unless that was done within the time that a change takes."""
        height = client.head.height
        if height == begin or height < client.validators.shown_height + LOOK_AFTER_BLOCKS:
            return
        evidence = await self.get_state(ENTRY_KEY)
        if evidence.link.header.height < height:
            raise NodeLied(
                self.url, f"it has block {height}, and shows the validators only after an earlier one"
            )
        await self._learn(client, evidence)

    async def _learn(self, client: LightClient, evidence: StateEvidence) -> None:
        try:
            client.learn(evidence)
        except (HeaderError, EvidenceError):
            # It may be of validators that came after those who are known.
            if not await self._learn_changes(client):
                raise
            client.learn(evidence)

    async def _learn_changes(self, client: LightClient) -> bool:
        """Learn of all changes of validators that the node can prove; whether there were any."""
        before = client.validators.sets.newest.number
        while True:
            number = client.validators.sets.newest.number
            for evidence in await self.handovers(number + 1):
                client.learn(evidence)
            if client.validators.sets.newest.number < number + HANDOVERS_MAX:
                return client.validators.sets.newest.number > before

    def _link(self, answer: "_Answer") -> Link:
        header = answer.blob("header", 1 << 16)
        certificate = answer.blob("certificate", 1 << 16)
        try:
            return Link.decode(header, certificate)
        except WireError as error:
            raise NodeLied(self.url, str(error)) from error

    def _state_evidence(self, answer: "_Answer") -> StateEvidence:
        return StateEvidence(self._link(answer), answer.blob("proof", PROOF_SIZE_MAX))

    def _evidence(self, answer: "_Answer", tx_hash: bytes) -> TransactionEvidence:
        transaction = answer.blob("tx", TX_SIZE_LIMIT)
        if transaction_hash(transaction) != tx_hash:
            raise NodeLied(self.url, f"it shows another transaction for {tx_hash.hex()}")
        index = answer.integer("index")
        return TransactionEvidence(
            link=self._link(answer),
            transaction=transaction,
            proof=InclusionProof(index, answer.hashes("tx_proof")),
            receipt=answer.blob("receipt", RECEIPT_SIZE_MAX),
            receipt_proof=InclusionProof(index, answer.hashes("receipt_proof")),
        )

    async def _call(self, method: str, params: dict[str, object]) -> "_Answer":
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        try:
            value = json.loads(await self._post(body))
        except (ValueError, RecursionError) as error:
            raise NodeLied(self.url, "its answer is not JSON") from error
        if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
            raise NodeLied(self.url, "its answer is not JSON-RPC 2.0")
        if "error" in value:
            self._raise(_Answer(self.url, value["error"], "an error"))
        return _Answer(self.url, value.get("result"), f"the result of {method}")

    async def _post(self, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.post(
                self.url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as response:
                # With 429 and 503 comes a JSON-RPC error that says how long to wait.
                is_told = response.content_type == "application/json" and response.status in (429, 503)
                if response.status != 200 and not is_told:
                    raise NodeUnavailable(self.url, f"HTTP status {response.status}")
                answer = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    answer += chunk
                    if len(answer) > ANSWER_SIZE_MAX:
                        raise NodeLied(self.url, f"its answer has more than {ANSWER_SIZE_MAX} bytes")
                return bytes(answer)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise NodeRefused(self.url, "this is no http address", "url") from error
        except TimeoutError as error:
            raise NodeUnavailable(self.url, f"no answer within {self._timeout.total} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NodeUnavailable(self.url, str(error) or type(error).__name__) from error

    def _raise(self, error: "_Answer") -> None:
        message = error.text("message")
        data = error.value.get("data")
        details = _Answer(self.url, data if isinstance(data, dict) else {}, "the error's data")
        label = details.text("reason") if "reason" in details.value else "unknown"
        if "retry_after_ms" in details.value:
            raise NodeBusy(self.url, message, details.integer("retry_after_ms"))
        if error.value.get("code") == INTERNAL_ERROR:
            raise NodeUnavailable(self.url, message)
        reason = _reason(label)
        if reason:
            raise Refused(reason, message)
        raise NodeRefused(self.url, message, label)


class _Answer:
    """A JSON object from a node, read field by field; anything unexpected is NodeLied."""

    def __init__(self, url: str, value: object, what: str) -> None:
        self._url, self._what = url, what
        if not isinstance(value, dict):
            raise NodeLied(url, f"{what} is not an object")
        self.value: dict[str, object] = value

    def text(self, name: str) -> str:
        value = self.value.get(name)
        if not isinstance(value, str) or len(value) > TEXT_SIZE_MAX:
            raise self._lied(name, f"is not a text of at most {TEXT_SIZE_MAX} characters")
        # What it says ends on a terminal: nothing in it may steer one.
        return "".join(letter if letter.isprintable() else "?" for letter in value)

    def integer(self, name: str) -> int:
        value = self.value.get(name)
        if type(value) is not int or not 0 <= value <= max(INT_MAX, SUPPLY_UCPC):
            raise self._lied(name, "is not a whole number")
        return value

    def blob(self, name: str, size_max: int, size: int | None = None) -> bytes:
        return self._bytes(self.value.get(name), name, size_max, size)

    def items(self, name: str, count_max: int) -> list[object]:
        value = self.value.get(name)
        if not isinstance(value, list) or len(value) > count_max:
            raise self._lied(name, f"is not a list of at most {count_max}")
        return value

    def hashes(self, name: str) -> tuple[bytes, ...]:
        return tuple(self._bytes(item, name, 32, 32) for item in self.items(name, PATH_MAX))

    def _bytes(self, value: object, name: str, size_max: int, size: int | None) -> bytes:
        data = from_hex(value, size_max, size)
        if data is None:
            raise self._lied(name, f"is not hex of {f'at most {size_max}' if size is None else size} bytes")
        return data

    def _lied(self, name: str, why: str) -> NodeLied:
        return NodeLied(self._url, f"{name} in {self._what} {why}")


def _reason(label: str) -> Reason | None:
    return next((reason for reason in Reason if reason and reason.label == label), None)
