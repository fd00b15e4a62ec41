"""Anchoring: an upload's roots go into a signed transaction, and come back as evidence.

Runs on CPython.  The node is trusted with nothing: what it shows is followed by a light client from the
genesis on, and checked against the anchor that was meant.  Deciding what to do next is `next_step`,
pure; asking the node is `Anchorer`.

    unknown to the node        -> send
    waiting in its pool        -> wait
    refused: nonce used        -> sign again with the next nonce (the content can be anchored only once)
    refused: quota used up     -> sign again with the least fee
    final                      -> follow the chain to its block, check, done
"""

import logging
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from chain_node.light_client import LightClient
from chain_node.light_http import NodeClient
from chain_node.wire import (
    ChainError,
    Genesis,
    NodeRefused,
    Reason,
    Refused,
    Transaction,
    TransactionEvidence,
    WireError,
)
from gateway.disk import Disk, FileMissing
from gateway.errors import AnchorError
from gateway.evidence import anchor_of, check
from gateway.spool import SpooledUpload
from puf.did import did_key
from puf.ed25519 import SigningKey

log = logging.getLogger("cpc.gateway")

DEV_FUND_UCPC = 1_000_000_000
"""What a gateway asks of a development chain's treasury when its account is empty: 1,000 CPC."""
GENESIS_FILE_SIZE_MAX = 1 << 20
HEAD_FILE_SIZE_MAX = 4_096


class Step(Enum):
    """What to do about a transaction that the node will not take."""

    WAIT = "wait"
    NEW_NONCE = "sign again with the next nonce"
    PAY_FEE = "sign again with the least fee"
    FUND = "have the account funded"
    GIVE_UP = "tell the operator"


_STEPS = {
    Reason.NONCE_AHEAD: Step.WAIT,
    Reason.NONCE_PENDING: Step.WAIT,
    Reason.BUSY: Step.WAIT,
    Reason.NONCE_USED: Step.NEW_NONCE,
    Reason.EXPIRED: Step.NEW_NONCE,
    Reason.QUOTA_USED_UP: Step.PAY_FEE,
    Reason.FEE_TOO_LOW: Step.PAY_FEE,
    Reason.ACCOUNT_UNKNOWN: Step.FUND,
    Reason.FEE_NOT_COVERED: Step.FUND,
}


def next_step(reason: Reason) -> Step:
    """What to do when an anchor was refused for `reason`."""
    return _STEPS.get(reason, Step.GIVE_UP)


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
    """What came of asking after an upload's anchor; both None: ask again later."""

    evidence: TransactionEvidence | None = None
    """Verified: the upload is anchored."""
    replacement: bytes | None = None
    """A newly signed transaction, to be kept before it is sent."""


class Anchorer:
    """Signs anchors, sends them, and verifies what the chain made of them."""

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
        self._client = NodeClient(node_url, timeout_ms)
        self._disk = disk or Disk()
        self._head_path = head_path
        self._light = self._restore()
        self._is_funded = False

    async def close(self) -> None:
        """Closes the connection to the node."""
        await self._client.close()

    async def sign(self, uploads: list[SpooledUpload]) -> list[tuple[SpooledUpload, bytes]]:
        """(upload, transaction) for each upload that has none yet, with nonces in their order.

        Keep the transactions before `settle` sends them.  Raises ChainError when the node does not answer.
        """
        new = [upload for upload in uploads if upload.tx is None]
        if not new:
            return []
        nonce = await self._next_nonce(uploads)
        return [
            (upload, self._transaction(upload, nonce + offset, self._fee_ucpc).data)
            for offset, upload in enumerate(new)
        ]

    async def settle(self, upload: SpooledUpload) -> Settled:
        """Brings one signed upload as far as it can be brought now.

        Raises ChainError (the node fails or lies), EvidenceError, and AnchorError when only the operator
        can help.
        """
        transaction = Transaction.decode(upload.tx or b"")
        try:
            answer = await self._client.get_transaction(transaction.tx_hash)
            if answer.status == "unknown":
                await self._client.submit(transaction)
                return Settled()
        except Refused as error:
            return await self._refused(upload, transaction, error.reason, str(error))
        if answer.status == "refused" and answer.reason is not None:
            return await self._refused(upload, transaction, answer.reason, answer.message)
        if answer.evidence is None:
            return Settled()
        return Settled(evidence=await self._confirmed(upload, answer.evidence))

    async def _confirmed(self, upload: SpooledUpload, evidence: TransactionEvidence) -> TransactionEvidence:
        height = evidence.link.header.height
        if height > self._light.head.height:
            await self._client.follow(self._light, height)
            self._disk.write_file_atomic(self._head_path, self._light.export())
        receipt = self._light.confirm_transaction(evidence)
        if receipt.reason in (Reason.ANCHOR_CONFLICT, Reason.ANCHOR_BEHIND, Reason.STREAM_OF_ANOTHER):
            raise AnchorError(
                f"the chain refuses upload {upload.manifest.upload_index} of stream "
                f"{upload.manifest.stream_id.hex()[:16]} for good ({receipt.reason.label}): another run of "
                "this gateway has anchored other data under that number, as when an old copy of its folder "
                "is put back; give the stream a new name in the configuration, its records then start anew"
            )
        check(evidence, self._key.public, self._genesis, anchor_of(upload.manifest))
        return evidence

    async def _refused(
        self, upload: SpooledUpload, transaction: Transaction, reason: Reason, message: str
    ) -> Settled:
        match next_step(reason):
            case Step.WAIT:
                return Settled()
            case Step.NEW_NONCE:
                nonce = await self._next_nonce([])
                return Settled(replacement=self._transaction(upload, nonce, transaction.fee_ucpc).data)
            case Step.PAY_FEE:
                fee_ucpc = max(self._fee_ucpc, self._genesis.fee_min_ucpc)
                return Settled(replacement=self._transaction(upload, transaction.nonce, fee_ucpc).data)
            case Step.FUND:
                await self._fund(message)
                return Settled()
            case Step.GIVE_UP:
                raise AnchorError(f"the chain refuses the anchor ({reason.label}): {message}")

    async def _fund(self, message: str) -> None:
        """Asks a development chain for play money, once; on any other chain somebody must pay."""
        did = did_key(self._key.public)
        if not self._is_funded:
            try:
                await self._client.fund(self._key.public, DEV_FUND_UCPC)
            except NodeRefused as error:
                raise AnchorError(
                    f"{message}; send some CPC to this gateway's account, {did}, then it goes on by itself"
                ) from error
            self._is_funded = True
            log.info("asked the development chain for %d ucpc for %s", DEV_FUND_UCPC, did)

    async def _next_nonce(self, uploads: list[SpooledUpload]) -> int:
        answer = await self._client.get_account(self._key.public)
        used = [Transaction.decode(upload.tx).nonce for upload in uploads if upload.tx is not None]
        return max([answer.next_nonce, *(nonce + 1 for nonce in used)])

    def _transaction(self, upload: SpooledUpload, nonce: int, fee_ucpc: int) -> Transaction:
        return Transaction.sign(
            self._key, self._genesis.chain_id, nonce, anchor_of(upload.manifest), fee_ucpc
        )

    def _restore(self) -> LightClient:
        try:
            return LightClient.restore(
                self._genesis, self._disk.read_file(self._head_path, HEAD_FILE_SIZE_MAX)
            )
        except FileMissing:
            return LightClient(self._genesis)
        except ChainError as error:
            # Nothing depends on it but time: the chain is followed again from its genesis.
            log.warning("%s: %s; following the chain from its beginning", self._head_path, error)
            return LightClient(self._genesis)
