"""Anchors and nodes that are of another chain, behind, away, or lie in every field."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain_node.wire import (
    ChainError,
    Genesis,
    NodeLied,
    NodeUnavailable,
    Reason,
    TransactionEvidence,
)
from gateway.anchor import Step, load_genesis, next_step
from gateway.disk import FileMissing
from gateway.errors import AnchorError, EvidenceError
from gateway.spool import SpooledUpload
from tests.gateway.anchored import Answer, LabNode, answering, refusal
from tests.gateway.anchoring import Desk, heights, run
from tests.gateway.telemetry import OWNER


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
            # One page of headers, and a look at who the validators are.
            assert node.calls == ["account_get", "headers", "state_get"]
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
