"""Folders of nodes: what is made, what is refused, what power cuts leave; a node runs on one."""

import asyncio
import stat
from pathlib import Path

import pytest

from chain_node.errors import DataDirDamaged, DataDirInUse, DevNodeError, PortInUse
from chain_node.full_node import FullNode
from chain_node.genesis import Genesis
from chain_node.light_http import NodeClient
from chain_node.node_folder import (
    RPC_OFFSET,
    Settings,
    TestNetwork,
    init_network,
    init_node,
    open_folder,
    read_genesis,
)
from chain_node.peer_address import Address
from tests.chain_node.peering import until
from tests.chain_node.world import BOB, START_MS, genesis_of

PLAN = TestNetwork("net", 4, 2, 1, 7600, 3_000)
ANY_PORT = Address("127.0.0.1", 0)


def test_a_test_network_is_folders_that_know_each_other(tmp_path: Path) -> None:
    genesis, folders = init_network(tmp_path / "net", PLAN, START_MS)
    names = [path.name for path, _ in folders]
    assert names == [*(f"validator-{n}" for n in range(1, 5)), "proposer-1", "proposer-2", "observer-1"]
    keys = [open_folder(path, settings).key.public for path, settings in folders]
    assert genesis.validators == tuple(keys[:4])
    assert genesis.proposers == tuple(keys[4:6])
    assert (genesis.block_period_ms, genesis.timeout_ms, genesis.heartbeat_ms) == (3_000, 9_000, 30_000)
    first, observer = folders[0][1], folders[-1][1]
    assert [each.port for each in first.dial] == [7601, 7602, 7603, 7604, 7605]
    assert [each.public for each in observer.dial] == keys[:6]
    assert (observer.listen, observer.rpc) == (
        Address("127.0.0.1", 7606),
        Address("127.0.0.1", 7606 + RPC_OFFSET),
    )
    for path, _ in folders:
        assert stat.S_IMODE((path / "node.key").stat().st_mode) == 0o600
        assert read_genesis(path / "genesis.cbor") == genesis
    assert [each.treasury_file for _, each in folders] == ["../treasury.key"] + [""] * 6


def test_without_proposers_the_validators_take_turns(tmp_path: Path) -> None:
    genesis, _ = init_network(tmp_path, TestNetwork("net", 1, 0, 0, 7600, 100), START_MS)
    assert genesis.proposers == genesis.validators
    assert genesis.timeout_ms == 2_000, "a machine that is busy is not impeached at once"


def test_what_a_power_cut_left_is_finished_with_the_same_keys(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, START_MS)
    keys = {path: path.read_bytes() for path in tmp_path.glob("*/node.key")}
    (tmp_path / "genesis.cbor").unlink()
    init_network(tmp_path, PLAN, START_MS)
    assert {path: path.read_bytes() for path in tmp_path.glob("*/node.key")} == keys


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (TestNetwork("net", 0, 1, 0, 7600, 1), "at least 1 validator, and at most 100 nodes"),
        (TestNetwork("net", 60, 20, 21, 7600, 1), "at least 1 validator, and at most 100 nodes"),
        (TestNetwork("net", 4, 0, 0, 65_500, 1), "there are no 4 ports from 65500 on, twice"),
    ],
)
def test_a_network_that_cannot_be_is_refused(tmp_path: Path, plan: TestNetwork, why: str) -> None:
    with pytest.raises(DevNodeError, match=why):
        init_network(tmp_path, plan, START_MS)


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, START_MS)
    with pytest.raises(DevNodeError, match="a network is there already; take another folder"):
        init_network(tmp_path, PLAN, START_MS)
    init_node(tmp_path / "one", genesis_of(), Settings())
    with pytest.raises(DevNodeError, match=r"node\.toml is there already"):
        init_node(tmp_path / "one", genesis_of(), Settings())


def test_a_folder_is_one_nodes_at_a_time(tmp_path: Path) -> None:
    init_node(tmp_path, genesis_of(), Settings())
    with open_folder(tmp_path, Settings()).lock, pytest.raises(DataDirInUse):
        open_folder(tmp_path, Settings())
    open_folder(tmp_path, Settings()).lock.close()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("node.key", b"zz", r"node\.key is not 64 hex digits; restore it"),
        ("node.key", None, r"node\.key is missing; restore it"),
        ("genesis.cbor", b"x", r"genesis\.cbor is no genesis"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, data: bytes | None, why: str) -> None:
    init_node(tmp_path, genesis_of(), Settings())
    (tmp_path / name).unlink()
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataDirDamaged, match=why):
        FullNode.open(tmp_path, Settings(), "test")
    with pytest.raises(DevNodeError, match="check its owner, its permissions and the disk"):
        open_folder(tmp_path / "nowhere", Settings())


# A node on its folder


def settings_of(genesis: Genesis, path: Path, *dial: Address, listen: Address | None = ANY_PORT) -> Settings:
    settings = Settings(listen=listen, dial=dial, rpc=ANY_PORT)
    init_node(path, genesis, settings)
    return settings


def test_a_node_answers_who_it_is_and_with_whom_it_is_connected(tmp_path: Path) -> None:
    async def story() -> None:
        genesis = genesis_of()
        first = FullNode.open(tmp_path / "a", settings_of(genesis, tmp_path / "a"), "one")
        async with first:
            address = first.network.address
            assert address
            settings = settings_of(genesis, tmp_path / "b", address, listen=None)
            async with (
                FullNode.open(tmp_path / "b", settings, "two") as second,
                NodeClient(first.url) as client,
            ):
                await until(lambda: len(first.network.peers()) == len(second.network.peers()) == 1)
                status, peers = await client.ask("node_status"), await client.ask("node_peers")
                public = second.network.public.hex()
        assert {
            key: status[key] for key in ("role", "height", "behind", "peer_count", "member_count", "trouble")
        } == {"role": "plain", "height": 0, "behind": 0, "peer_count": 1, "member_count": 0, "trouble": ""}
        assert status["address"] == str(address)
        assert isinstance(peers["peers"], list)
        (peer,) = peers["peers"]
        assert (peer["public"], peer["program"], peer["is_dialled"], peer["score"]) == (
            public,
            "two",
            False,
            0,
        )

    asyncio.run(story())


def test_a_port_in_use_gives_the_folder_free(tmp_path: Path) -> None:
    async def story() -> None:
        genesis = genesis_of()
        async with FullNode.open(tmp_path / "a", settings_of(genesis, tmp_path / "a"), "one") as first:
            taken = first.network.address
            assert taken
            settings = settings_of(genesis, tmp_path / "b", listen=Address(taken.host, taken.port))
            with pytest.raises(PortInUse):
                await FullNode.open(tmp_path / "b", settings, "two").__aenter__()
            open_folder(tmp_path / "b", settings).lock.close()

    asyncio.run(story())


def test_a_strangers_key_is_no_committee(tmp_path: Path) -> None:
    settings = Settings(key_file="mine.key", rpc=ANY_PORT)
    (tmp_path / "mine.key").write_text(BOB.seed.hex() + "\n")
    assert init_node(tmp_path, genesis_of(), settings).public == BOB.public
    node = FullNode.open(tmp_path, settings, "test")
    assert (node.network.public, node.network.role) == (BOB.public, "plain")
    node._close()
