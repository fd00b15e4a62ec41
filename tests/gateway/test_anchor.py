"""Signing and sending anchors: nonces, funds and fees, whatever was lost on the way."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain_node.wire import (
    Anchor,
    NodeLied,
    Reason,
    Transaction,
)
from gateway.errors import AnchorError
from gateway.evidence import anchor_of
from gateway.spool import SpooledUpload
from puf.ed25519 import SigningKey
from tests.gateway.anchored import Answer, LabNode, answering, refusal
from tests.gateway.anchoring import Desk, heights, run, transactions
from tests.gateway.telemetry import OWNER


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
