"""Signing and sending anchors, to nodes that are honest, forgetful, poor, or lie in every field."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain_node.wire import (
    Anchor,
    ChainError,
    Genesis,
    NodeLied,
    NodeUnavailable,
    Reason,
    Transaction,
    TransactionEvidence,
)
from gateway.anchor import Anchorer, Settled, Step, load_genesis, next_step
from gateway.disk import FileMissing
from gateway.errors import AnchorError, EvidenceError
from gateway.evidence import anchor_of
from gateway.spool import SpooledUpload
from puf.ed25519 import SigningKey
from tests.gateway.anchored import Answer, LabNode, answering, refusal, store_uploads
from tests.gateway.telemetry import OWNER, can_batch


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


@pytest.fixture
def uploads(tmp_path: Path) -> list[SpooledUpload]:
    """Four uploads of a stream, none of them signed."""
    store, manifests = store_uploads(tmp_path / "site", [can_batch(40, step_ns=500_000_000)], segment_count=1)
    store.close()
    return [SpooledUpload(row, manifest, None) for row, manifest in enumerate(manifests, 1)]


class Desk:
    """An anchorer and its node."""

    def __init__(
        self, folder: Path, node: LabNode, genesis: Genesis | None = None, fee_ucpc: int = 0
    ) -> None:
        self.node = node
        self.head_path = folder / "head.cbor"
        self._genesis = genesis or node.genesis
        self._fee_ucpc = fee_ucpc
        self.open()

    def open(self) -> None:
        self.anchorer = Anchorer(OWNER, self._genesis, self.node.url, self._fee_ucpc, 5_000, self.head_path)

    async def sign(self, uploads: list[SpooledUpload]) -> list[SpooledUpload]:
        """The uploads, signed where they need it."""
        nonce = (await self.anchorer.account()).nonce
        signed = {upload.row: tx for upload, tx in self.anchorer.sign(uploads, nonce)}
        return [replace(upload, tx=signed.get(upload.row, upload.tx)) for upload in uploads]

    async def anchor(
        self, uploads: list[SpooledUpload], begin: int = 0, end: int = 4, pass_count: int = 8
    ) -> list[Settled]:
        """What becomes of some of the uploads in so many passes; their transactions are kept in the list."""
        settled = dict.fromkeys(range(begin, end), Settled())
        for _ in range(pass_count):
            for place, each in settled.items():
                if uploads[place].tx is not None and each == Settled():
                    settled[place] = await self.anchorer.evidence(uploads[place])
            waiting = [place for place, each in settled.items() if each == Settled()]
            signed = await self.sign([uploads[place] for place in waiting])
            for place, upload in zip(waiting, signed, strict=True):
                uploads[place] = upload
            for place in waiting:
                answer = await self.anchorer.send(uploads[place])
                if answer.replacement is not None:
                    uploads[place] = replace(uploads[place], tx=answer.replacement)
                else:
                    settled[place] = answer
        return list(settled.values())

    async def __aenter__(self) -> "Desk":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.anchorer.close()


def heights(settled: list[Settled]) -> list[int]:
    return [each.evidence.link.header.height for each in settled if each.evidence is not None]


def transactions(uploads: list[SpooledUpload]) -> list[Transaction]:
    return [Transaction.decode(upload.tx or b"") for upload in uploads]


def test_uploads_are_anchored_in_order_and_the_account_is_funded_once(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            settled = await desk.anchor(uploads)
            assert all(each.evidence for each in settled)
            assert heights(settled) == sorted(heights(settled))
            assert [tx.nonce for tx in transactions(uploads)] == [0, 1, 2, 3]
            assert [tx.body for tx in transactions(uploads)] == [
                anchor_of(upload.manifest) for upload in uploads
            ]
            assert node.calls.count("dev_fund") == 1
            for upload, each in zip(uploads, settled, strict=True):
                assert each.evidence is not None
                desk.anchorer.check(each.evidence, upload.manifest)

    run(story)


def test_another_need_is_funded_again(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            assert heights(await desk.anchor(uploads, 0, 1))

            node.lie = answering("tx_submit", refusal(Reason.FEE_NOT_COVERED))
            await desk.anchor(uploads, 1, 2, 6)
            # Asked for in the first pass, seen to be final in the next one, and asked for again after that.
            assert node.calls.count("dev_fund") == 1 + 3
            node.lie = None
            assert heights(await desk.anchor(uploads, 1, 2))

    run(story)


def test_a_pool_that_was_lost_gets_the_same_transactions_again(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            node.is_idle = True
            await desk.anchor(uploads, 1, 4, 1)
            before = [upload.tx for upload in uploads]
            assert len(node.dev.node.pool) == 3
            await node.restart()
            assert len(node.dev.node.pool) == 0
            node.is_idle = False
            assert len(heights(await desk.anchor(uploads))) == 4
            assert [upload.tx for upload in uploads] == before

    run(story)


def test_a_crash_between_signing_and_keeping_leaves_no_hole_in_the_nonces(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            # Three were signed; only the first was kept when the power went.
            signed = await desk.sign(uploads[:3])
            uploads[0] = signed[0]
            settled = await desk.anchor(uploads)
            assert len(heights(settled)) == 4
            assert uploads[0].tx == signed[0].tx
            assert [tx.nonce for tx in transactions(uploads)] == [0, 1, 2, 3]

    run(story)


def test_a_nonce_that_a_copy_of_the_gateway_has_used_is_put_right(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            uploads[1:] = await desk.sign(uploads[1:])
            foreign = Anchor(b"f" * 32, 0, 1, bytes(32), bytes(32), bytes(32))
            node.dev.node.submit(Transaction.sign(OWNER, node.genesis.chain_id, 1, foreign).data)
            settled = await desk.anchor(uploads)
            assert len(heights(settled)) == 4
            assert [tx.nonce for tx in transactions(uploads)] == [0, 2, 3, 4]

    run(story)


def test_a_nonce_that_is_too_high_is_put_right(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            signed = desk.anchorer.sign(uploads[1:], 700)
            uploads[1:] = [replace(upload, tx=tx) for upload, tx in signed]
            for upload in uploads[1:]:
                await desk.anchorer.send(upload)
            assert len(heights(await desk.anchor(uploads))) == 4
            assert [tx.nonce for tx in transactions(uploads)] == [0, 1, 2, 3]

    run(story)


def test_a_transaction_that_the_disk_has_altered_is_signed_again(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            signed = await desk.sign(uploads[:1])
            assert signed[0].tx is not None
            uploads[0] = replace(signed[0], tx=signed[0].tx[:-1] + bytes([signed[0].tx[-1] ^ 1]))
            assert desk.anchorer.nonce_after(uploads[0]) == 0
            assert len(heights(await desk.anchor(uploads))) == 4

    run(story)


def test_content_that_is_anchored_by_another_transaction_is_found(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    """As when a node hid a final transaction until another was signed."""

    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            (first,) = await desk.anchor(uploads, 0, 1)
            assert first.evidence is not None
            uploads[0] = replace(uploads[0], tx=None)
            (again,) = await desk.anchor(uploads, 0, 1)
            assert again.evidence == first.evidence
            # The nonce of the second transaction stayed free for the next upload.
            assert len(heights(await desk.anchor(uploads, 1))) == 3
            assert [tx.nonce for tx in transactions(uploads)[1:]] == [1, 2, 3]

    run(story)


def other_content(upload: SpooledUpload) -> Anchor:
    return replace(anchor_of(upload.manifest), cipher_root=bytes(32))


@pytest.mark.parametrize("is_in_a_block", [False, True])
def test_an_upload_that_is_anchored_with_other_content_is_refused_for_good(
    tmp_path: Path, uploads: list[SpooledUpload], is_in_a_block: bool
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            chain_id = node.genesis.chain_id
            other = Transaction.sign(OWNER, chain_id, 1, other_content(uploads[1]))
            if is_in_a_block:
                # Ours waits in the pool already when the other one is taken.
                uploads[1] = (await desk.sign(uploads[1:2]))[0]
                mine = transactions(uploads[1:2])[0]
                late = Transaction.sign(OWNER, chain_id, 2, mine.body)
                uploads[1] = replace(uploads[1], tx=late.data)
                node.dev.node.submit(other.data)
                node.dev.node.submit(late.data)
                await node.produce()
                settled = await desk.anchorer.evidence(uploads[1])
            else:
                node.dev.node.submit(other.data)
                await node.produce()
                (settled,) = await desk.anchor(uploads, 1, 2, 1)
            assert settled.evidence is None
            assert settled.refusal is not None
            assert "give the stream a new name" in settled.refusal
            # Later uploads are not held up by it.
            assert len(heights(await desk.anchor(uploads, 2))) == 2

    run(story)


def test_a_stranger_that_anchors_to_the_stream_first_is_in_nobodys_way(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    """Stream ids follow from what is public, and so anybody may use them."""

    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            squatter, chain_id = SigningKey(b"squatter".ljust(32)), node.genesis.chain_id
            node.treasury.fund(squatter.public, 5_000)
            await node.produce()
            for nonce, upload in enumerate((uploads[0], uploads[3])):
                node.dev.node.submit(Transaction.sign(squatter, chain_id, nonce, other_content(upload)).data)
            await node.produce()
            assert node.dev.node.nonce_of(squatter.public) == 2
            settled = await desk.anchor(uploads)
            for upload, each in zip(uploads, settled, strict=True):
                assert each.evidence is not None
                desk.anchorer.check(each.evidence, upload.manifest)

    run(story)


def test_an_upload_that_comes_too_late_is_refused_for_good(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 1, 2)
            (settled,) = await desk.anchor(uploads, 0, 1, 1)
            assert settled.refusal is not None
            assert "can never take it" in settled.refusal

    run(story)


# ------------------------------------------------------------------------ fees


def test_without_free_quota_the_least_fee_is_paid(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    def no_quota(method: str, params: dict[str, Any], ask: Callable[[], Answer]) -> Answer:
        if method == "tx_submit" and not Transaction.decode(bytes.fromhex(params["tx"])).fee_ucpc:
            return refusal(Reason.QUOTA_USED_UP)
        return ask()

    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            node.lie = no_quota
            assert len(heights(await desk.anchor(uploads))) == 4
            fee_min_ucpc = node.genesis.fee_min_ucpc
            assert [tx.fee_ucpc for tx in transactions(uploads)] == [fee_min_ucpc] * 4
            assert [tx.nonce for tx in transactions(uploads)] == [0, 1, 2, 3]
            assert node.calls.count("dev_fund") == 1

    run(story)


def test_a_fee_of_the_configuration_is_paid_from_the_start(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node, fee_ucpc=1_500) as desk:
            assert len(heights(await desk.anchor(uploads, 0, 1))) == 1
            assert transactions(uploads[:1])[0].fee_ucpc == 1_500

    run(story)


def test_a_fee_below_the_chain_s_least_is_told(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node, fee_ucpc=500) as desk:
            with pytest.raises(AnchorError, match=r"fee_ucpc = 500 is less .* write at least 1000, or 0"):
                await desk.anchor(uploads, 0, 1)

    run(story)


def test_a_node_that_wants_ever_more_is_not_paid(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            node.lie = answering("tx_submit", refusal(Reason.FEE_TOO_LOW))
            with pytest.raises(NodeLied, match="it wants more than the chain's least fee"):
                await desk.anchor(uploads, 1, 2, 3)
            assert transactions(uploads[1:2])[0].fee_ucpc == node.genesis.fee_min_ucpc

    run(story)


def test_where_nobody_gives_money_away_the_operator_is_told_whom_to_pay(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            del node.dispatcher._methods["dev_fund"]
            with pytest.raises(AnchorError, match="send some CPC to this gateway's account, did:key:z6Mk"):
                await desk.anchor(uploads, 0, 1)
            node.treasury.fund(OWNER.public, 5_000)
            assert len(heights(await desk.anchor(uploads))) == 4

    run(story)


# ----------------------------------------------------------- nodes that are no use


def test_a_node_of_another_chain_is_named_before_anything_is_sent(
    tmp_path: Path, uploads: list[SpooledUpload]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "a") as mine, LabNode(tmp_path / "b") as other:
            async with Desk(tmp_path, other, genesis=mine.genesis) as desk:
                with pytest.raises(AnchorError, match=r"is of another chain, .* correct node_url or genesis"):
                    await desk.anchor(uploads)
            assert other.calls == ["account_get"]

    run(story)


def test_a_node_that_is_behind_is_told_with_what_to_do(tmp_path: Path) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await node.produce(5)
            await desk.anchorer.account()
            await node.restart(is_chain_lost=True)
            with pytest.raises(
                AnchorError, match=r"is at block 1, but block 6 .* delete .*head.cbor and start"
            ):
                await desk.anchorer.account()

    run(story)


def test_a_chain_that_was_made_anew_and_grew_longer_is_a_fork(tmp_path: Path) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await node.produce(2)
            await desk.anchorer.account()
            await node.restart(is_chain_lost=True)
            await node.produce(5)
            with pytest.raises(
                AnchorError, match=r"fork at block 3: .*; only if it was made anew .* delete .*head.cbor"
            ):
                await desk.anchorer.account()
            # What the message says to do helps.
            desk.head_path.unlink(missing_ok=True)
            await desk.anchorer.close()
            desk.open()
            assert (await desk.anchorer.account()).nonce == 0

    run(story)


def test_the_trusted_head_survives_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await node.produce(150)
            await desk.anchorer.account()
            desk.anchorer.save_head()
            desk.open()
            node.calls.clear()
            await node.produce()
            await desk.anchorer.account()
            assert node.calls == ["account_get", "headers"]
            assert desk.head_path.stat().st_size < 256

    run(story)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, b"x" * 5_000], ids=["cut", "zeros", "too long"])
def test_a_damaged_head_is_said_and_followed_anew(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            (tmp_path / "head.cbor").write_bytes(damage)
            async with Desk(tmp_path, node) as desk:
                assert "following the chain from its beginning" in caplog.text
                assert (await desk.anchorer.account()).balance_ucpc == 0

    run(story)


def test_a_head_that_was_forged_to_lie_ahead_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            desk = Desk(tmp_path, node)
            light = desk.anchorer._light
            light.head = replace(light.head, height=10**6, block_hash=b"f" * 32)
            desk.head_path.write_bytes(light.export())
            await desk.anchorer.close()
            desk.open()
            with pytest.raises(AnchorError, match="block 1000000 of this chain is known to be final"):
                await desk.anchorer.account()
            await desk.anchorer.close()

    run(story)


def test_a_node_that_is_away_is_a_node_error(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            node.is_away = True
            with pytest.raises(NodeUnavailable):
                await desk.anchor(uploads)
            node.is_away = False
            node.lie = lambda method, params, ask: None
            with pytest.raises(NodeUnavailable, match="HTTP status 503"):
                await desk.anchor(uploads)

    run(story)


def test_a_pool_that_is_full_is_told(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            node.lie = answering("tx_submit", refusal(Reason.BUSY, "the pool is full"))
            with pytest.raises(AnchorError, match=r"refuses the anchor \(busy\): the pool is full"):
                await desk.anchor(uploads, 0, 1)

    run(story)


@pytest.mark.parametrize("reason", [Reason.ANCHOR_CONFLICT, Reason.ANCHOR_BEHIND])
def test_a_refusal_for_good_must_be_proven(
    tmp_path: Path, uploads: list[SpooledUpload], reason: Reason
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            node.lie = answering("tx_submit", refusal(reason))
            with pytest.raises(NodeLied, match="nothing on the chain is against this anchor"):
                await desk.anchor(uploads, 1, 2)
            node.lie = None
            assert len(heights(await desk.anchor(uploads, 1, 2))) == 1

    run(story)


def mutations(value: Any) -> list[Any]:
    """Other values in the place of `value`, of its own type and of others."""
    others: list[Any] = [None, True, -1, 2**70, "", "zz", [], {}, [[]], "00" * 32]
    match value:
        case str():
            others += [value[:-2], value + "00", value[::-1], value.upper()]
        case bool():
            pass
        case int():
            others += [value + 1, value - 1, str(value)]
        case list():
            others += [value[:-1], [*value, *value[:1], "00" * 32], value[::-1]]
    return [other for other in others if other != value or type(other) is not type(value)]


@pytest.mark.parametrize("method", ["account_get", "tx_get", "headers", "tx_submit", "dev_fund"])
def test_a_node_that_lies_in_any_field_is_caught_or_harmless(
    tmp_path: Path, uploads: list[SpooledUpload], method: str
) -> None:
    """Every field of every answer is exchanged: only declared errors, and no evidence that does not hold."""

    async def story() -> None:
        outcomes: set[str] = set()
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 1)
            fields: list[tuple[str, Any]] = []

            def look(got: str, params: dict[str, Any], ask: Callable[[], Answer]) -> Answer:
                answer = ask()
                if got == method and not fields:
                    fields.extend(answer.get("result", {}).items())
                return answer

            if method in ("tx_get", "headers"):
                await node.produce()
            node.lie = look
            if method == "dev_fund":
                await ask_for_money(desk)
            else:
                await desk.anchor(uploads, 0, 2, 2)
            assert fields, f"{method} was not asked"
            for name, honest in fields:
                for other in mutations(honest):

                    def lie(got: str, params: dict[str, Any], ask: Callable[[], Answer]) -> Answer:
                        answer = ask()
                        if got == method and "result" in answer:
                            answer["result"][name] = other  # noqa: B023 - used before the next round
                        return answer

                    node.lie = lie
                    await node.produce()
                    outcomes.add(await lied_to(desk, uploads[0], method))
            node.lie = None
            assert len(heights(await desk.anchor(uploads))) == 4
        assert outcomes <= {"evidence", "nothing", "NodeLied", "HeaderError", "AnchorError", "EvidenceError"}
        assert method in ("tx_submit", "dev_fund") or "NodeLied" in outcomes

    run(story)


async def ask_for_money(desk: Desk) -> None:
    desk.anchorer._funding = None
    await desk.anchorer.account()
    await desk.anchorer._fund("")


async def lied_to(desk: Desk, upload: SpooledUpload, method: str) -> str:
    """What comes of asking a node that lies."""
    try:
        await desk.anchorer.account()
        if method == "dev_fund":
            await ask_for_money(desk)
        elif method == "tx_submit":
            await desk.anchorer.send(upload)
        settled = await desk.anchorer.evidence(upload)
    except (AnchorError, ChainError, EvidenceError) as error:
        return type(error).__name__
    if settled.evidence is None:
        return "nothing"
    evidence: TransactionEvidence = settled.evidence
    desk.anchorer.check(evidence, upload.manifest)
    return "evidence"


def test_evidence_of_another_upload_is_not_taken(tmp_path: Path, uploads: list[SpooledUpload]) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            await desk.anchor(uploads, 0, 2)
            # As if the spool had mixed them up: what is final does not fit the manifest.
            mixed = replace(uploads[1], tx=uploads[0].tx)
            with pytest.raises(EvidenceError, match="it anchors something else: other upload"):
                await desk.anchorer.evidence(mixed)

    run(story)


# -------------------------------------------------------------------- genesis


def test_a_file_that_is_no_genesis_is_told(tmp_path: Path) -> None:
    path = tmp_path / "genesis.cbor"
    with pytest.raises(FileMissing):
        load_genesis(path)
    path.write_bytes(json.dumps({"chain": "dev"}).encode())
    with pytest.raises(AnchorError, match=r"is not a genesis file: .* cpc init makes one"):
        load_genesis(path)


def test_a_genesis_file_is_the_chain(tmp_path: Path) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            genesis: Genesis = load_genesis(tmp_path / "chain" / "genesis.cbor")
            assert genesis == node.genesis

    run(story)


def test_every_reason_has_a_step() -> None:
    steps = {reason.label: next_step(reason) for reason in Reason}
    assert steps["nonce_used"] is Step.WAIT
    assert steps["anchor_known"] is Step.LOOK_UP
    assert steps["wrong_chain"] is Step.COMPLAIN


def test_no_secret_is_in_what_is_logged_or_shown(
    tmp_path: Path, uploads: list[SpooledUpload], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node, Desk(tmp_path, node) as desk:
            settled = await desk.anchor(uploads)
            shown = caplog.text + repr(settled) + repr(uploads) + repr(desk.anchorer)
            assert OWNER.seed.hex() not in shown
            assert repr(OWNER.seed) not in shown

    run(story)
