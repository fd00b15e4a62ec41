"""JSON-RPC for people who look at a chain: blocks with who signed, transactions taken apart, validators.

Runs on CPython; knows no sockets.  All of it is for show: a light client asks the methods of rpc.py, whose
answers are proven.

    blocks        count, to (optional)   {height, blocks: [...]}, the newest first from height `to` down
    block_get     height or hash, from and count (optional)   {status: final | unknown, transactions, ...}
    tx_show       tx_hash           {status, kind, sender, ..., fields: [{name, type, value}], receipt}
    validators                      {height, number, quorum, validators, pending, proposers} with conduct
    did_versions  did               {version, is_deactivated, versions: [...]}, the newest first

A block's `signers` are indexes of the validators in force then, whose number is `set`.  A certificate needs
only a quorum, so that one who is not in it may well be there.  `impeached` names the proposer in whose place
an impeachment block stands, and why: `why` is null when this node was not there to see it, and `is_proven`
tells whether the chain itself shows it.
"""

import dataclasses
from collections.abc import Callable, Mapping

from chain_node import quorum
from chain_node.block import NO_PROPOSER, Header, Vote
from chain_node.did_ledger import DidEntry, DidRotate, DidVersion, did_key, did_version_key
from chain_node.errors import WireError
from chain_node.evidence import Link
from chain_node.fields import HASH_SIZE, INT_MAX
from chain_node.impeachment import Why
from chain_node.node import Node
from chain_node.rpc_call import Params
from chain_node.rpc_format import PAGE_BLOCKS_MAX as BLOCKS_MAX
from chain_node.schedule import GenesisTurns
from chain_node.state import State
from chain_node.storage import StoredBlock
from chain_node.transaction import Body, Receipt, Transaction
from chain_node.validator_set import ValidatorSet
from puf.did import did_cpc
from puf.did_document import Document

Answer = dict[str, object]

VERSIONS_MAX = 100
"""Versions of a name that are listed."""
LOOK_BACK = 10_000
"""How many blocks back one is found by its hash, for which there is no index."""

KINDS_OF_BYTES = {
    "to": "account",
    "payee": "account",
    "payer": "account",
    "arbiter": "account",
    "operator": "account",
    "memo": "text",
    "name": "did",
    "first": "vote",
    "second": "vote",
}
"""What the bytes of a body's field are, where they are more than bytes."""


def methods(node: Node) -> Mapping[str, Callable[[Params], Answer]]:
    """The methods by name, for a `Dispatcher`."""
    look = _Look(node)
    return {
        "blocks": look.blocks,
        "block_get": look.block_get,
        "tx_show": look.tx_show,
        "validators": look.validators,
        "did_versions": look.did_versions,
    }


class _Look:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._schedule = GenesisTurns(node.genesis, node.storage.validators_at)

    def blocks(self, params: Params) -> Answer:
        count = params.integer("count", 1, BLOCKS_MAX)
        head = self._node.head.height
        top = min(params.integer("to", 0, INT_MAX), head) if params.has("to") else head
        params.done()
        first = max(1, top - count + 1)
        links = [Link.decode(*row) for row in self._node.storage.headers(first, top - first + 1)]
        with self._node.storage.errors():
            state = self._state()
            shown = [self._summary(link.header, link, state) for link in reversed(links)]
        return {"height": head, "blocks": shown}

    def block_get(self, params: Params) -> Answer:
        if params.has("hash"):
            height = self._find(params.blob("hash", HASH_SIZE, HASH_SIZE))
        else:
            height = params.integer("height", 1, INT_MAX)
        first = params.integer("from", 0, INT_MAX) if params.has("from") else 0
        count = params.integer("count", 1, BLOCKS_MAX) if params.has("count") else BLOCKS_MAX
        params.done()
        link = self._node.storage.link(height) if height is not None else None
        if height is None or link is None:
            return {"status": "unknown", "height": self._node.head.height}
        header = link.header
        with self._node.storage.errors():
            answer = self._summary(header, link, self._state())
        stored = self._node.storage.block(height)
        return answer | {
            "status": "final",
            "head": self._node.head.height,
            "header": header.data.hex(),
            "parent_hash": header.parent_hash.hex(),
            "chain_id": header.chain_id.hex(),
            "tx_root": header.tx_root.hex(),
            "receipts_root": header.receipts_root.hex(),
            "state_root": header.state_root.hex(),
            "validators_hash": header.validators_hash.hex(),
            "validators": [public.hex() for public in self._node.storage.validators_at(height).keys],
            "transactions": _rows(stored, first, count) if stored else None,
        }

    def tx_show(self, params: Params) -> Answer:
        tx_hash = params.blob("tx_hash", HASH_SIZE, HASH_SIZE)
        params.done()
        found = self._node.storage.find_transaction(tx_hash)
        stored = self._node.storage.block(found[0]) if found else None
        if found and stored:
            data, receipt = stored.transactions[found[1]], stored.receipts[found[1]]
            place: Answer = {
                "status": "final",
                "height": found[0],
                "index": found[1],
                "time_ms": stored.header.time_ms,
                "block_hash": stored.header.block_hash.hex(),
                "tx_count": stored.header.tx_count,
                "receipt": {"reason": receipt.reason.label, "fee_ucpc": receipt.fee_ucpc},
            }
            return place | _taken_apart(Transaction.restore(data))
        if pending := self._node.pool.get(tx_hash):
            return {"status": "pending"} | _taken_apart(pending)
        if refused := self._node.pool.refusal(tx_hash):
            return {"status": "refused", "reason": refused.reason.label, "message": str(refused)}
        return {"status": "unknown"}

    def validators(self, params: Params) -> Answer:
        params.done()
        storage, head = self._node.storage, self._node.head
        present, pending = (
            storage.validators_at(head.height + 1),
            storage.handovers.sets.pending(head.height + 1),
        )
        with self._node.storage.errors():
            state = self._state()

            def shown(index: int, public: bytes) -> Answer:
                conduct = state.conduct(public)
                return {
                    "index": index,
                    "public": public.hex(),
                    "impeached_count": conduct.impeached_count,
                    "equivocation_count": conduct.equivocation_count,
                    "last_height": conduct.last_height,
                }

            return {
                "height": head.height,
                "number": present.number,
                "from_height": present.from_height,
                "quorum": quorum.size(len(present.keys)),
                "validators": [shown(*each) for each in enumerate(present.keys)],
                "pending": pending and set_json(pending),
                "proposers": [shown(*each) for each in enumerate(self._schedule.proposers(head.height + 1))],
                "next_proposer": self._schedule.proposer(head.height + 1).hex(),
            }

    def did_versions(self, params: Params) -> Answer:
        name = params.did_cpc("did")
        params.done()
        with self._node.storage.errors():
            state = self._state()
            present = state.read(did_key(name), DidEntry)
            if present is None:
                return {"version": None, "is_deactivated": False, "versions": []}
            versions: list[Answer] = [
                {
                    "version": present.version,
                    "since_height": present.since_height,
                    "until_height": None,
                    "since_ms": present.updated_ms,
                    "tx_hash": present.tx_hash.hex(),
                }
            ]
            for version in range(present.version - 1, max(0, present.version - VERSIONS_MAX), -1):
                past = state.read(did_version_key(name, version), DidVersion)
                assert past, "a name keeps every version it had"  # noqa: S101 - only a bug gets here
                versions.append(
                    {
                        "version": version,
                        "since_height": past.since_height,
                        "until_height": past.until_height,
                        "since_ms": past.since_ms,
                        "tx_hash": past.tx_hash.hex(),
                    }
                )
        return {
            "version": present.version,
            "is_deactivated": present.is_deactivated,
            "versions": versions,
        }

    def _find(self, block_hash: bytes) -> int | None:
        storage = self._node.storage
        with storage.errors():
            height: int | None = storage.connection.execute(
                "SELECT height FROM block WHERE height > ? AND hash = ?",
                (self._node.head.height - LOOK_BACK, block_hash),
            ).get
        return height

    def _summary(self, header: Header, link: Link, state: State) -> Answer:
        is_impeached = header.proposer == NO_PROPOSER
        return {
            "height": header.height,
            "hash": header.block_hash.hex(),
            "time_ms": header.time_ms,
            "proposer": None if is_impeached else header.proposer.hex(),
            "tx_count": header.tx_count,
            "round": header.round,
            "certificate_round": link.certificate.round,
            "set": self._node.storage.validators_at(header.height).number,
            "signers": [index for index, _ in link.certificate.signatures],
            "impeached": self._impeached(header.height, state) if is_impeached else None,
        }

    def _impeached(self, height: int, state: State) -> Answer:
        proposer = self._schedule.proposer(height)
        with self._node.storage.errors():
            seen = self._node.storage.impeachments.get(height)
        shown: Answer = {
            "proposer": proposer.hex(),
            "why": seen and seen.why.value,
            "detail": seen.detail if seen else "",
            "is_proven": False,
        }
        if proven := state.equivocation(proposer, height):
            shown |= {"why": Why.TWO_BLOCKS.value, "is_proven": True, "tx_hash": proven.tx_hash.hex()}
        return shown

    def _state(self) -> State:
        return State(self._node.storage.entries(self._node.head.state_root))


def set_json(validators: ValidatorSet) -> Answer:
    """A set of validators without their conduct."""
    return {
        "number": validators.number,
        "from_height": validators.from_height,
        "quorum": quorum.size(len(validators.keys)),
        "validators": [public.hex() for public in validators.keys],
    }


def _rows(stored: StoredBlock, first: int, count: int) -> list[Answer]:
    return [
        _row(index, Transaction.restore(stored.transactions[index]), stored.receipts[index])
        for index in range(first, min(first + count, len(stored.transactions)))
    ]


def _row(index: int, transaction: Transaction, receipt: Receipt) -> Answer:
    body = transaction.body
    amount_ucpc = getattr(body, "amount_ucpc", getattr(body, "paid_ucpc", None))
    return {
        "index": index,
        "tx_hash": transaction.tx_hash.hex(),
        "kind": body.KIND,
        "kind_name": _kind_name(transaction),
        "sender": transaction.sender.hex(),
        "amount_ucpc": amount_ucpc,
        "reason": receipt.reason.label,
        "fee_ucpc": receipt.fee_ucpc,
    }


def _kind_name(transaction: Transaction) -> str:
    """The class's name with underscores: "did_register"."""
    name = type(transaction.body).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def _taken_apart(transaction: Transaction) -> Answer:
    """A transaction with its body's fields, each with what it is; numbers as texts, for they may be large."""
    body = transaction.body
    fields: list[Answer] = []
    for each in dataclasses.fields(body):
        fields.append(_shown(each.name, getattr(body, each.name), body))
    return {
        "kind": body.KIND,
        "kind_name": _kind_name(transaction),
        "sender": transaction.sender.hex(),
        "nonce": str(transaction.nonce),
        "fee_ucpc": str(transaction.fee_ucpc),
        "valid_until": None if transaction.valid_until is None else str(transaction.valid_until),
        "fields": fields,
        "tx": transaction.data.hex(),
    }


def _shown(name: str, value: object, body: Body) -> Answer:
    if value is None:
        kind: str = "none"
        what: object = None
    elif isinstance(value, Document):
        # A first document names itself; a later one belongs to the name that its body says.
        kind, what = "document", value.to_json(body.name if isinstance(body, DidRotate) else value.name())
    elif name == "approvals" and isinstance(value, tuple):
        kind, what = "document", {str(index): signature.hex() for index, signature in value}
    elif isinstance(value, tuple):
        kind, what = "accounts", [each.hex() for each in value]
    elif isinstance(value, int):
        kind = "amount" if name.endswith("_ucpc") else "time" if name.endswith("_ms") else "number"
        what = str(value)
    else:
        assert isinstance(value, bytes)  # noqa: S101 - bodies have no other fields
        kind = KINDS_OF_BYTES.get(name, "bytes")
        what = did_cpc(value) if kind == "did" else _vote(value) if kind == "vote" else value.hex()
    return {"name": name, "type": kind, "value": what}


def _vote(data: bytes) -> Answer:
    try:
        vote = Vote.read(data)
    except WireError as error:
        return {"error": str(error), "data": data.hex()}
    return {
        "voter": vote.voter.hex(),
        "height": str(vote.height),
        "round": str(vote.round),
        "form": vote.form,
        "block_hash": vote.block_hash.hex(),
    }
