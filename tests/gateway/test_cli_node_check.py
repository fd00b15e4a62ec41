"""`cpc node check` as an operator meets it: what is wrong, what was repaired, with peers and without."""

import asyncio
import json
import shutil
from argparse import Namespace
from contextlib import closing
from pathlib import Path

import pytest

from chain_node.folder_files import lock_folder
from chain_node.node_folder import Settings, init_node
from chain_node.storage import Storage
from gateway import cli_node_check
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_OK, EXIT_USAGE
from tests.chain_node.peering import Net
from tests.chain_node.test_storage import GENESIS, change, extend
from tests.chain_node.world import VALIDATORS
from tests.gateway.commands import Cpc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as `cpc node dev` leaves it, with two files of one chain."""
    folder = tmp_path / "chain"
    folder.mkdir()
    (folder / "genesis.cbor").write_bytes(GENESIS.data)
    with closing(Storage.open(folder / "chain.sqlite", GENESIS)) as storage:
        extend(storage, 4)
    shutil.copy(folder / "chain.sqlite", folder / "chain-2.sqlite")
    return folder


def test_a_sound_chain_is_said_to_be_right(cpc: Cpc, folder: Path) -> None:
    out = cpc("node", "check", folder)
    assert out.count("height 4; looked at 0 handover, 4 block, 4 body, 4 tx, ") == 2
    assert out.count("all of it is right") == 2
    told = cpc.lines("node", "check", folder)
    assert [(each["is_sound"], each["damage_count"], each["damages"]) for each in told] == [(True, 0, [])] * 2


def test_damage_is_named_with_what_to_do_and_repaired(cpc: Cpc, folder: Path) -> None:
    change(folder / "chain-2.sqlite", "DELETE FROM tx WHERE height = 3")
    out = cpc("node", "check", folder, exit_code=EXIT_NOT_PROVEN)
    assert "\n  tx 3: transaction " in out
    assert f"next: cpc node check {folder} --repair" in out
    assert out.count("all of it is right") == 1
    out = cpc("node", "check", folder, "--repair")
    assert "1 things were wrong, 0 still are" in out
    assert cpc("node", "check", folder).count("all of it is right") == 2


def test_what_is_gone_from_here_is_still_wrong_after_a_repair_without_peers(cpc: Cpc, folder: Path) -> None:
    change(folder / "chain.sqlite", "DELETE FROM body WHERE height = 2")
    out = cpc("node", "check", folder, "--repair", exit_code=EXIT_NOT_PROVEN)
    assert "body 2: it is missing" in out
    assert "peers that have the rest were not reachable" in out


def test_a_node_that_runs_is_not_looked_into_and_a_folder_of_nothing_is_refused(
    cpc: Cpc, folder: Path, tmp_path: Path
) -> None:
    with closing(lock_folder(folder)):
        cpc("node", "check", folder, exit_code=EXIT_FAILED)
    assert "a node runs on this folder" in cpc.err
    cpc("node", "check", tmp_path, exit_code=EXIT_USAGE)
    assert "is no folder of a node" in cpc.err
    init_node(tmp_path / "new", GENESIS, Settings())
    cpc("node", "check", tmp_path / "new", exit_code=EXIT_USAGE)
    assert "this node has never run" in cpc.err


def test_peers_give_back_blocks_and_states_over_their_network(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> int:
        net = Net(tmp_path, GENESIS)
        shutil.copy(folder / "chain.sqlite", tmp_path / "peer.sqlite")
        peer = await net.start("peer", VALIDATORS[3])
        mine = tmp_path / "mine"
        init_node(mine, GENESIS, Settings(dial=(peer.address,)))
        shutil.copy(folder / "chain.sqlite", mine / "chain.sqlite")
        for statement in (
            "DELETE FROM block WHERE height = 2",
            "UPDATE body SET transactions = x'00' WHERE height = 3",
            "DELETE FROM body WHERE height = 1",
            "DELETE FROM tx",
            "DELETE FROM node WHERE hash IN (SELECT hash FROM node LIMIT 4)",
        ):
            change(mine / "chain.sqlite", statement)
        args = Namespace(folder=mine, repair=True, json=True)
        try:
            return await cli_node_check.run_check(args)
        finally:
            await net.stop("peer")

    code = asyncio.run(story())
    told = json.loads(capsys.readouterr().out)
    assert (told["damages"], told["is_sound"], code) == ([], True, EXIT_OK)
    assert told["repaired_count"] > 5
