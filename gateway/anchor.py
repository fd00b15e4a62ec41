"""Anchoring: an upload's roots go into a signed transaction, and come back as evidence.

Runs on CPython.  The node is trusted with nothing: what it shows is followed by a light client from the
genesis on, and checked against the anchor that was meant.  For each pass over the uploads that wait:

    account     proven: which nonce comes next
    evidence    of each upload: final, and verified, or not yet
    sign        those without a transaction, or whose nonce does not follow the one before
    send        those that the node does not have

The uploads that wait have, in their order, the nonces that follow the account's; whatever else is found
(a nonce used by a copy of this gateway, a transaction that a node has forgotten) is put right by signing
again.  That is harmless: the chain keeps the content of an upload once, and a second transaction for it
finds it there.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from chain_node.light_client import HEAD_SIZE_MAX, LightClient
from chain_node.wire import (
    Account,
    Anchor,
    ChainError,
    ForkFound,
    Genesis,
    NodeLied,
    NodeRefused,
    Reason,
    Refused,
    Transaction,
    TransactionEvidence,
    WireError,
    anchor_key,
    stream_key,
)
from gateway.disk import Disk, FileMissing, FileTooLarge
from gateway.errors import AnchorError
from gateway.evidence import anchor_of, check
from gateway.manifest import Manifest
from gateway.spool import SpooledUpload
from puf.did import did_key
from puf.ed25519 import SigningKey

log = logging.getLogger("cpc.gateway")

DEV_FUND_UCPC = 1_000_000_000
"""What a gateway asks of a development chain's treasury when its account is empty: 1,000 CPC."""
GENESIS_FILE_SIZE_MAX = 1 << 20
HEAD_SAVED_BLOCKS = 100
"""The trusted head is saved when it has moved so far: it only spares a restart the way from the genesis."""


class Step(Enum):
    """What to do about a transaction that the node will not take."""

    WAIT = "ask again at the next pass, which also puts the nonces right"
    PAY_FEE = "sign again with the least fee"
    FUND = "have the account funded"
    LOOK_UP = "see what is anchored under this upload's number"
    COMPLAIN = "tell the operator"


_STEPS = {
    Reason.NONCE_AHEAD: Step.WAIT,
    Reason.NONCE_PENDING: Step.WAIT,
    Reason.NONCE_USED: Step.WAIT,
    Reason.QUOTA_USED_UP: Step.PAY_FEE,
    Reason.FEE_TOO_LOW: Step.PAY_FEE,
    Reason.ACCOUNT_UNKNOWN: Step.FUND,
    Reason.FEE_NOT_COVERED: Step.FUND,
    Reason.ANCHOR_KNOWN: Step.LOOK_UP,
    Reason.ANCHOR_CONFLICT: Step.LOOK_UP,
    Reason.ANCHOR_BEHIND: Step.LOOK_UP,
}


def next_step(reason: Reason) -> Step:
    """What to do when an anchor was refused for `reason`."""
    return _STEPS.get(reason, Step.COMPLAIN)


def load_genesis(path: Path) -> Genesis:
    """The chain that a genesis file stands for.  Raises AnchorError, DiskError."""
    try:
        return Genesis.decode(Disk().read_file(path, GENESIS_FILE_SIZE_MAX))
    except WireError as error:
        raise AnchorError(
            f"{path} is not a genesis file: {error}; cpc init makes one, cpc node dev has one"
        ) from error


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of asking after an upload's anchor; all None: ask again later."""

    evidence: TransactionEvidence | None = None
    """Verified: the upload is anchored."""
    replacement: bytes | None = None
    """A newly signed transaction, to be kept before it is sent."""
    refusal: str | None = None
    """Why this upload can never be anchored, which was proven."""


class Anchorer:
    """Signs anchors, sends them, and verifies what the chain made of them.

    Methods that ask the node raise ChainError when it fails or lies, and AnchorError when only the
    operator can help.
    """

    def __init__(
        self,
        key: SigningKey,
        genesis: Genesis,
        node_url: str,
        fee_ucpc: int,
        timeout_ms: int,
        head_path: Path,
        disk: Disk | None = None,
    ) -> None:
        """head_path: file that keeps how far the chain was followed, so that a restart goes on from there."""
        self._key = key
        self._genesis = genesis
        self._fee_ucpc = fee_ucpc
        # Here, because an HTTP library takes as long to load as all the rest, and who reads needs none.
        from chain_node.light_http import NodeClient

        self._client = NodeClient(node_url, timeout_ms)
        self._disk = disk or Disk()
        self._head_path = head_path
        self._light = self._restore()
        self._saved_height = self._light.head.height
        self._account = Account()
        self._funding: bytes | None = None
        """Hash of the transfer that was asked for, until it is final."""
        self._may_fund = True
        """Nothing was asked about money since the account was looked at."""

    async def close(self) -> None:
        """Closes the connection to the node."""
        await self._client.close()

    async def account(self) -> Account:
        """This gateway's account, proven; also the way to find out whether the node is of any use."""
        answer = await self._client.get_account(self._key.public)
        header = answer.evidence.link.header
        if header.chain_id != self._genesis.chain_id:
            raise AnchorError(
                f"node {self._client.url} is of another chain, {header.chain_id.hex()[:16]}, than the one "
                f"that is trusted, {self._genesis.name} {self._genesis.chain_id.hex()[:16]}: correct "
                "node_url or genesis in the configuration (cpc init writes both for a chain)"
            )
        if header.height < self._light.head.height:
            raise AnchorError(
                f"node {self._client.url} is at block {header.height}, but block {self._light.head.height} "
                f"of this chain is known to be final: wait until the node has caught up, or, {self._renewed}"
            )
        await self._follow(header.height)
        with self._fork_advice():
            self._account = self._light.confirm_account(self._key.public, answer.evidence)
        self._may_fund = True
        return self._account

    async def evidence(self, upload: SpooledUpload) -> Settled:
        """The evidence of a signed upload, once its transaction is final."""
        transaction = self._signed(upload)
        if transaction is None:
            return Settled()
        answer = await self._client.get_transaction(transaction.tx_hash)
        if answer.evidence is None:
            return Settled()
        return await self._confirmed(upload.manifest, answer.evidence)

    def nonce_after(self, upload: SpooledUpload) -> int:
        """The nonce that follows that of a signed upload; 0 when it has none."""
        transaction = self._signed(upload)
        return 0 if transaction is None else transaction.nonce + 1

    def sign(self, uploads: list[SpooledUpload], nonce: int) -> list[tuple[SpooledUpload, bytes]]:
        """(upload, transaction) for each upload that needs a new one.

        uploads: in their order, all that wait.  nonce: that of the first.  Keep the transactions before
        `send` sends them.
        """
        signed = []
        for place, upload in enumerate(uploads, nonce):
            old = self._signed(upload)
            if old is None:
                signed.append((upload, self._transaction(upload.manifest, place, self._fee_ucpc)))
            elif old.nonce != place:
                signed.append((upload, self._transaction(upload.manifest, place, old.fee_ucpc)))
        return signed

    async def send(self, upload: SpooledUpload) -> Settled:
        """Hands a signed upload to the node, which may have it already."""
        transaction = Transaction.decode(upload.tx or b"")
        try:
            await self._client.submit(transaction)
        except Refused as error:
            match next_step(error.reason):
                case Step.WAIT:
                    pass
                case Step.PAY_FEE:
                    return await self._pay_fee(upload, transaction, str(error))
                case Step.FUND:
                    await self._fund(str(error))
                case Step.LOOK_UP:
                    return await self._look_up(upload.manifest, str(error))
                case Step.COMPLAIN:
                    raise AnchorError(
                        f"node {self._client.url} refuses the anchor ({error.reason.label}): {error}"
                    ) from error
        return Settled()

    def check(self, evidence: TransactionEvidence, manifest: Manifest) -> None:
        """Raises EvidenceError unless `evidence` proves that this gateway's upload is anchored."""
        check(evidence, self._key.public, self._genesis, anchor_of(manifest))

    def save_head(self) -> None:
        """Keeps how far the chain was followed, when that is much further.  Raises DiskError."""
        height = self._light.head.height
        if height >= self._saved_height + HEAD_SAVED_BLOCKS:
            self._disk.write_file_atomic(self._head_path, self._light.export())
            self._saved_height = height

    # ----------------------------------------------------------------- inside

    async def _confirmed(self, manifest: Manifest, evidence: TransactionEvidence) -> Settled:
        await self._follow(evidence.link.header.height)
        with self._fork_advice():
            receipt = self._light.confirm_transaction(evidence)
        if next_step(receipt.reason) is Step.LOOK_UP and receipt.reason is not Reason.ANCHOR_KNOWN:
            return Settled(refusal=_refusal(receipt.reason.label))
        evidence = self._light.completed(evidence)
        self.check(evidence, manifest)
        return Settled(evidence=evidence)

    async def _look_up(self, manifest: Manifest, message: str) -> Settled:
        """What the chain's state, proven, says about an upload that the node says cannot be anchored."""
        anchor = anchor_of(manifest)
        answer = await self._client.get_state(anchor_key(self._key.public, anchor.stream, anchor.upload))
        await self._follow(answer.link.header.height)
        with self._fork_advice():
            entry = self._light.confirm_anchor(self._key.public, anchor.stream, anchor.upload, answer)
        if entry is not None and entry.is_of(anchor):
            found = await self._client.get_transaction(entry.tx_hash)
            if found.evidence is None:
                raise NodeLied(self._client.url, "it hides the transaction of an anchor that its state has")
            return await self._confirmed(manifest, found.evidence)
        if entry is None and not await self._is_too_late(anchor):
            raise NodeLied(
                self._client.url, f"nothing on the chain is against this anchor, and yet: {message}"
            )
        return Settled(refusal=_refusal(message))

    async def _is_too_late(self, anchor: Anchor) -> bool:
        """Whether a later upload of the stream is anchored."""
        answer = await self._client.get_state(stream_key(self._key.public, anchor.stream))
        await self._follow(answer.link.header.height)
        with self._fork_advice():
            stream = self._light.confirm_stream(self._key.public, anchor.stream, answer)
        return stream is not None and stream.last_upload >= anchor.upload

    async def _pay_fee(self, upload: SpooledUpload, transaction: Transaction, message: str) -> Settled:
        fee_min_ucpc = self._genesis.fee_min_ucpc
        if 0 < self._fee_ucpc < fee_min_ucpc:
            raise AnchorError(
                f"fee_ucpc = {self._fee_ucpc} is less than this chain's least fee: "
                f"write at least {fee_min_ucpc}, or 0 to use the free quota first"
            )
        fee_ucpc = max(self._fee_ucpc, fee_min_ucpc)
        if transaction.fee_ucpc >= fee_ucpc:
            raise NodeLied(self._client.url, f"it wants more than the chain's least fee: {message}")
        if self._account.balance_ucpc < fee_ucpc:
            await self._fund(message)
            return Settled()
        return Settled(replacement=self._transaction(upload.manifest, transaction.nonce, fee_ucpc))

    async def _fund(self, message: str) -> None:
        """Asks a development chain for play money, once a need; on any other chain somebody must pay."""
        if not self._may_fund:
            return
        self._may_fund = False
        if self._funding is not None:
            status = (await self._client.get_transaction(self._funding)).status
            if status != "pending":
                self._funding = None
            if status in ("pending", "final"):
                return
        did = did_key(self._key.public)
        try:
            self._funding = await self._client.fund(self._key.public, DEV_FUND_UCPC)
        except NodeRefused as error:
            raise AnchorError(
                f"{message}; send some CPC to this gateway's account, {did}, then it goes on by itself"
            ) from error
        log.info("asked the development chain for %d ucpc for %s", DEV_FUND_UCPC, did)

    async def _follow(self, height: int) -> None:
        if height > self._light.head.height:
            with self._fork_advice():
                await self._client.follow(self._light, height)

    @contextmanager
    def _fork_advice(self) -> Iterator[None]:
        try:
            yield
        except ForkFound as error:
            raise AnchorError(f"{error}; only {self._renewed}") from error

    @property
    def _renewed(self) -> str:
        return (
            f"if it was made anew from the same genesis, delete {self._head_path} and start the gateway again"
        )

    def _signed(self, upload: SpooledUpload) -> Transaction | None:
        """The transaction of an upload; None when there is none, or the disk has altered it."""
        if upload.tx is None:
            return None
        try:
            return Transaction.decode(upload.tx)
        except Refused:
            return None

    def _transaction(self, manifest: Manifest, nonce: int, fee_ucpc: int) -> bytes:
        return Transaction.sign(self._key, self._genesis.chain_id, nonce, anchor_of(manifest), fee_ucpc).data

    def _restore(self) -> LightClient:
        try:
            return LightClient.restore(self._genesis, self._disk.read_file(self._head_path, HEAD_SIZE_MAX))
        except FileMissing:
            return LightClient(self._genesis)
        except (ChainError, FileTooLarge) as error:
            # Nothing depends on it but time: the chain is followed again from its genesis.
            log.warning("%s: %s; following the chain from its beginning", self._head_path, error)
            return LightClient(self._genesis)


def _refusal(why: str) -> str:
    return (
        f"the chain can never take it ({why}): another run of this gateway has anchored other data "
        "of this stream, as when an old copy of its folder is put back; give the stream a new name in the "
        "configuration, its records then start anew"
    )
