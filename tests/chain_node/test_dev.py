"""The development node: one folder, first start and restart, and the whole way of an anchor through it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chain_node.dev import DevNode
from chain_node.entry import anchor_key
from chain_node.errors import (
    DataDirDamaged,
    DataDirInUse,
    DevNodeError,
    NodeUnavailable,
    PortInUse,
    Refused,
    StorageError,
)
from chain_node.evidence import TransactionEvidence
from chain_node.light_client import LightClient
from chain_node.light_http import NodeClient
from chain_node.reason import Reason
from chain_node.transaction import SUPPLY_UCPC, Receipt, Transaction
from tests.chain_node.world import ALICE, STRANGERS, anchor, genesis_of


def with_node(path: Path, story: Callable[[DevNode, NodeClient], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        options.setdefault("block_period_ms", 10)
        async with DevNode.create_or_open(path, 0, **options) as dev, NodeClient(dev.url) as client:
            return await story(dev, client)

    return asyncio.run(run())


async def confirm(dev: DevNode, client: NodeClient, light: LightClient, tx_hash: bytes) -> Receipt:
    """The proven receipt, once the transaction is final."""
    while (answer := await client.get_transaction(tx_hash)).evidence is None:
        assert answer.status == "pending"
        await dev.node.wait_for_height(dev.node.head.height + 1)
    await client.follow(light, answer.evidence.link.header.height)
    # Kept and read again, as a gateway does.
    return light.confirm_transaction(TransactionEvidence.decode(answer.evidence.encode()))


def test_an_anchor_from_the_treasury_to_its_proofs_trusting_only_the_genesis(tmp_path: Path) -> None:
    async def story(dev: DevNode, client: NodeClient) -> None:
        info = await client.chain_info()
        assert info.chain_id == dev.genesis.chain_id
        light = LightClient(dev.genesis)
        funded = await client.fund(ALICE.public, 5_000_000)
        assert (await confirm(dev, client, light, funded)).reason == Reason.APPLIED
        account = await client.get_account(ALICE.public)
        await client.follow(light)
        assert light.confirm_account(ALICE.public, account.evidence).balance_ucpc == 5_000_000

        body = anchor(upload=7)
        transaction = Transaction.sign(ALICE, dev.genesis.chain_id, account.next_nonce, body)
        await client.submit(transaction)
        receipt = await confirm(dev, client, light, transaction.tx_hash)
        assert (receipt.reason, receipt.fee_ucpc) == (Reason.APPLIED, 0)

        present = await client.get_state(anchor_key(ALICE.public, body.stream, 7))
        absent = await client.get_state(anchor_key(ALICE.public, body.stream, 8))
        await client.follow(light)
        entry = light.confirm_anchor(ALICE.public, body.stream, 7, present)
        assert entry is not None
        assert entry.is_of(body)
        assert entry.tx_hash == transaction.tx_hash
        assert light.confirm_anchor(ALICE.public, body.stream, 8, absent) is None

        await client.submit(transaction)
        with pytest.raises(Refused) as caught:
            await client.submit(Transaction.sign(ALICE, dev.genesis.chain_id, 1, body))
        assert caught.value.reason == Reason.ANCHOR_KNOWN

    with_node(tmp_path / "node", story)


def test_a_restart_keeps_the_chain_and_a_light_client_goes_on(tmp_path: Path) -> None:
    kept: list[bytes] = []

    async def before(dev: DevNode, client: NodeClient) -> bytes:
        light = LightClient(dev.genesis)
        await confirm(dev, client, light, await client.fund(ALICE.public, 1_000_000))
        kept.append(light.export())
        return dev.genesis.data

    async def after(dev: DevNode, client: NodeClient) -> bytes:
        light = LightClient.restore(dev.genesis, kept[0])
        old = light.head.height
        transaction = Transaction.sign(ALICE, dev.genesis.chain_id, 0, anchor())
        await client.submit(transaction)
        await confirm(dev, client, light, transaction.tx_hash)
        assert light.head.height > old
        return dev.genesis.data

    assert with_node(tmp_path, before) == with_node(tmp_path, after, name="ignored", block_period_ms=5)


def test_the_folder_is_made_with_keys_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    DevNode.create_or_open(folder, 0).close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes.keys() == {"genesis.cbor", "validator.key", "treasury.key", "chain.sqlite", "lock"}
    assert {modes[name] for name in ("validator.key", "treasury.key", "chain.sqlite")} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_treasury_holds_all_the_money_of_a_new_chain(tmp_path: Path) -> None:
    dev = DevNode.create_or_open(tmp_path, 0, name="mine", block_period_ms=123)
    try:
        assert [amount_ucpc for _, amount_ucpc in dev.genesis.balances] == [SUPPLY_UCPC]
        assert (dev.genesis.name, dev.genesis.block_period_ms) == ("mine", 123)
        assert len(dev.genesis.validators) == 1
        assert dev.genesis.proposers == dev.genesis.validators
        assert (dev.genesis.timeout_ms, dev.genesis.heartbeat_ms) == (5_000, 10_000)
    finally:
        dev.close()


def test_two_nodes_on_one_folder_are_refused_and_one_after_the_other_is_fine(tmp_path: Path) -> None:
    first = DevNode.create_or_open(tmp_path, 0)
    with pytest.raises(
        DataDirInUse, match="a node runs on this folder; stop it, or take another one"
    ) as caught:
        DevNode.create_or_open(tmp_path, 0)
    assert caught.value.data_dir == str(tmp_path)
    first.close()
    DevNode.create_or_open(tmp_path, 0).close()


def test_a_port_in_use_is_named_and_the_folder_is_free_again(tmp_path: Path) -> None:
    async def run(port: int) -> None:
        await DevNode.create_or_open(tmp_path, port).run()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUse):
            asyncio.run(run(taken.getsockname()[1]))
    DevNode.create_or_open(tmp_path, 0).close()


def test_four_validators_in_one_folder_go_on_without_one_and_take_it_back(tmp_path: Path) -> None:
    async def story(dev: DevNode, client: NodeClient) -> None:
        light = LightClient(dev.genesis)
        await dev.node.wait_for_height(2)
        await dev.kill(2)
        assert [node is None for node in dev.nodes] == [False, False, True, False]
        with pytest.raises(DevNodeError, match="validator 3 cannot be killed, or is dead"):
            await dev.kill(2)
        height = dev.node.head.height
        funded = await client.fund(ALICE.public, 1_000_000)
        assert (await confirm(dev, client, light, funded)).reason == Reason.APPLIED
        await dev.node.wait_for_height(height + 5)
        rounds = [dev.node.storage.block(at).header.round for at in range(height + 1, height + 6)]  # type: ignore[union-attr]
        assert 1 in rounds, "its turn was impeached"
        revived = dev.revive(2)
        with pytest.raises(DevNodeError, match="validator 3 is alive"):
            dev.revive(2)
        head = await revived.wait_for_height(dev.node.head.height)
        stored = dev.node.storage.block(head.height)
        assert stored
        assert stored.header.block_hash == head.block_hash
        assert revived.storage.find_transaction(funded) is not None

    with_node(tmp_path, story, validator_count=4, block_period_ms=20, heartbeat_ms=20, timeout_ms=400)
    keys = {path.name for path in tmp_path.glob("*.key")}
    assert keys == {"validator.key", "validator-2.key", "validator-3.key", "validator-4.key", "treasury.key"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}


def test_the_first_validator_is_never_killed_since_it_answers(tmp_path: Path) -> None:
    async def story(dev: DevNode, client: NodeClient) -> None:
        with pytest.raises(DevNodeError, match="validator 1 cannot be killed"):
            await dev.kill(0)

    with_node(tmp_path, story)


def test_the_number_of_validators_is_that_of_the_chain_for_ever(tmp_path: Path) -> None:
    with pytest.raises(DevNodeError, match="1 to 16 validators"):
        DevNode.create_or_open(tmp_path, 0, validator_count=17)
    DevNode.create_or_open(tmp_path, 0, validator_count=2).close()
    with pytest.raises(DevNodeError, match="this chain has 2 validators, which never changes"):
        DevNode.create_or_open(tmp_path, 0, validator_count=3)
    dev = DevNode.create_or_open(tmp_path, 0)
    assert len(dev.nodes) == 2
    dev.close()


def test_an_interrupted_first_start_is_gone_on_with(tmp_path: Path) -> None:
    """The power was cut after the validator's key and before the genesis."""
    DevNode.create_or_open(tmp_path, 0).close()
    validator = (tmp_path / "validator.key").read_bytes()
    for name in ("genesis.cbor", "treasury.key", "chain.sqlite"):
        (tmp_path / name).unlink()
    (tmp_path / "treasury.part").write_bytes(b"half a ke")
    DevNode.create_or_open(tmp_path, 0).close()
    assert (tmp_path / "validator.key").read_bytes() == validator
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("validator.key", None, "validator.key is missing; restore it from a copy, or delete the folder"),
        ("treasury.key", b"no hex\n", "treasury.key is not 64 hex digits"),
        ("validator.key", b"\xff" * 65, "validator.key is not 64 hex digits"),
        ("treasury.key", STRANGERS[0].seed.hex().encode(), "the keys are not those of genesis.cbor"),
        ("validator.key", STRANGERS[0].seed.hex().encode(), "the keys are not those of genesis.cbor"),
        ("genesis.cbor", b"garbage", "genesis.cbor is no genesis: "),
        ("genesis.cbor", genesis_of().data, "validator-2.key is missing"),
    ],
)
def test_damaged_files_are_named_with_what_to_do(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    DevNode.create_or_open(tmp_path, 0).close()
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataDirDamaged, match=message) as caught:
        DevNode.create_or_open(tmp_path, 0)
    assert STRANGERS[0].seed.hex() not in str(caught.value)


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DevNodeError, match="check its owner, its permissions and the disk"):
        DevNode.create_or_open(file / "inside", 0)


def test_what_ends_the_making_of_blocks_ends_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object) -> None:
        raise StorageError("chain.sqlite", "the disk is gone")

    async def run() -> None:
        await DevNode.create_or_open(tmp_path, 0).run()

    monkeypatch.setattr("chain_node.node.Node.advance", fail)
    with pytest.raises(StorageError, match="the disk is gone"):
        asyncio.run(run())
    DevNode.create_or_open(tmp_path, 0).close()


def test_an_error_of_the_body_comes_out_as_it_is(tmp_path: Path) -> None:
    async def story(dev: DevNode, client: NodeClient) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        with_node(tmp_path, story)
    DevNode.create_or_open(tmp_path, 0).close()


def test_a_body_that_waits_for_a_block_does_not_wait_for_a_dead_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: object) -> None:
        raise StorageError("chain.sqlite", "the disk is gone")

    async def story(dev: DevNode, client: NodeClient) -> None:
        await dev.node.wait_for_height(1)

    monkeypatch.setattr("chain_node.node.Node.advance", fail)
    with pytest.raises(StorageError, match="the disk is gone"):
        with_node(tmp_path, story)


def test_cancelling_it_is_no_error(tmp_path: Path) -> None:
    async def run() -> None:
        task = asyncio.create_task(DevNode.create_or_open(tmp_path, 0).run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    DevNode.create_or_open(tmp_path, 0).close()


def test_after_the_end_nobody_answers(tmp_path: Path) -> None:
    async def story(dev: DevNode, client: NodeClient) -> str:
        await client.chain_info()
        return dev.url

    url = with_node(tmp_path, story)

    async def ask() -> None:
        async with NodeClient(url) as client:
            await client.chain_info()

    with pytest.raises(NodeUnavailable):
        asyncio.run(ask())
