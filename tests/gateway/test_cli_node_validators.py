"""`cpc node validators` as operators use it: a change goes round, is signed, sent, and takes over."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chain_node.genesis import Genesis
from chain_node.light_http import NodeClient
from chain_node.node_folder import RPC_OFFSET
from chain_node.peer_address import Address, parse_address
from chain_node.validator_set import ValidatorsChange, ValidatorSet
from gateway.cli_node_validators import ChangeFile, status_lines
from gateway.cli_output import EXIT_USAGE, UsageError
from tests.chain_node.peering import Net
from tests.chain_node.world import NEWCOMERS, VALIDATORS, change_of, genesis_of, key
from tests.gateway.commands import Cpc
from tests.gateway.test_cli_node import Processes, free_base_port

CHAIN = genesis_of()
OLD = ValidatorSet(0, 0, CHAIN.validators)


def written(folder: Path, signers: dict[int, Any], name: str = "change.json", **changes: Any) -> Path:
    change = change_of(CHAIN, 0, 50, (*VALIDATORS, NEWCOMERS[0]), signers)
    value = json.loads(ChangeFile(CHAIN.chain_id, OLD, change).text())
    (folder / name).write_text(json.dumps(value | changes))
    return folder / name


def test_a_change_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = ChangeFile.read(written(tmp_path, {0: VALIDATORS[0], 2: VALIDATORS[2]}))
    assert (found.replaced, found.missing) == (OLD, 1)
    assert isinstance(found.change, ValidatorsChange)
    signature = found.change.approve(VALIDATORS[1], CHAIN.chain_id)
    whole = found.with_approval(1, signature)
    assert ([index for index, _ in whole.change.approvals], whole.missing) == ([0, 1, 2], 0)
    whole.change.check_approvals(CHAIN.chain_id, OLD)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"from_height": 51}, "the approval of validator 0 is not by its key; take it out"),
        ({"chain_id": "00"}, "the approval of validator 0 is not by its key"),
        ({"approvals": {"4": "00"}}, "the approval of validator 4 is not by its key"),
        ({"approvals": []}, "holds no change of validators"),
        ({"validators": ["00"]}, "its validators are none, too many, no keys, or one of them twice"),
        ({"number": "1"}, "'1' is no whole number"),
        ({"replaces": None}, "holds no change of validators"),
    ],
)
def test_a_change_that_was_tampered_with_is_refused(tmp_path: Path, changes: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ChangeFile.read(written(tmp_path, {0: VALIDATORS[0]}, **changes))


def test_garbage_is_no_change(tmp_path: Path) -> None:
    for data in (b"", b"[]", b"{", b"\xff", b"1", b"[" * 10_000, b'{"number": {}}'):
        (tmp_path / "garbage").write_bytes(data)
        with pytest.raises(UsageError, match="garbage holds no change of validators"):
            ChangeFile.read(tmp_path / "garbage")


def test_the_status_names_who_takes_over() -> None:
    said: dict[str, object] = {"number": 0, "from_height": 0, "quorum": 3, "validators": [1, 2, 3, 4]}
    pending = {"number": 1, "from_height": 50, "validators": ["ab" * 32, "cd" * 32]}
    assert status_lines(said | {"pending": None}) == [
        "validators: set 0, in force from block 0 on; 4, of whom 3 make a block final"
    ]
    assert status_lines(said | {"pending": pending})[1] == (
        "  set 1 takes over at block 50: 2, abababababab.., cdcdcdcdcdcd.."
    )


@pytest.fixture
def network(cpc: Cpc, tmp_path: Path) -> Iterator[Processes]:
    """One validator, and a node that is to become the second."""
    folder, port = tmp_path / "net", free_base_port(2)
    cpc("node", "init", folder, "--validators", 1, "--base-port", port, "--block-period-ms", 50)
    cpc(
        *("node", "init", folder / "new", "--genesis", folder / "genesis.cbor"),
        *("--peer", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{port + 1}"),
        *("--rpc", f"127.0.0.1:{port + 1 + RPC_OFFSET}"),
    )
    with ExitStack() as stack:
        yield Processes(folder, stack)


@pytest.mark.slow
def test_one_validator_becomes_two(cpc: Cpc, network: Processes, tmp_path: Path) -> None:
    folder = network.folder
    network.start("validator-1", "new")
    url, public = network.told["validator-1"]["url"], network.told["new"]["public"]
    there = ["--node", url, "--genesis", folder / "genesis.cbor"]
    (tmp_path / "phrase").write_text("correct horse\n")
    phrase = ["--passphrase-file", tmp_path / "phrase"]
    (wallet,) = cpc.lines("wallet", "new", tmp_path / "alice.wallet", *phrase)

    genesis = Genesis.decode((folder / "genesis.cbor").read_bytes())
    address = parse_address(network.told["validator-1"]["address"])

    async def reach(height: int) -> int:
        assert isinstance(address, Address)
        net = Net(tmp_path, genesis)
        watcher = await net.start("watcher", key("watcher"), [address])
        try:
            await net.reach(height)
            return watcher.node.head.height
        finally:
            await net.stop("watcher")

    async def fund() -> None:
        async with NodeClient(url) as client:
            await client.fund(bytes.fromhex(wallet["account"]), 1_000_000)

    start = asyncio.run(reach(1)) + 40
    asyncio.run(fund())
    change = tmp_path / "change.json"
    propose = ["node", "validators", "propose", change, "--add", public, *there]
    for wrong, why in (
        (["--at", start - 39], "it can be from"),
        (["--drop", "00" * 32], "is none of the 1 validators"),
        (["--add", public], "is a validator already, or named twice"),
    ):
        cpc(*propose, *wrong, exit_code=EXIT_USAGE)
        assert why in cpc.err
    (told,) = cpc.lines(*propose, "--at", start)
    assert (told["enters"], told["leaves"], told["missing_count"]) == ([public], [], 1)
    send = ["node", "validators", "send", tmp_path / "alice.wallet", change, *phrase, *there]
    cpc(*send, exit_code=EXIT_USAGE)
    assert "1 more must approve, of validators 0" in cpc.err
    cpc("node", "validators", "approve", change, folder / "new", exit_code=EXIT_USAGE)
    assert "is none of the validators that the change replaces" in cpc.err
    out = cpc("node", "validators", "approve", change, folder / "validator-1")
    assert "approved by validator 0\nnext: cpc node validators send WALLET FILE" in out
    (sent,) = cpc.lines(*send)
    assert (sent["reason"], sent["from_height"], sent["number"]) == ("applied", start, 1)
    assert f"  set 1 takes over at block {start}: 2, " in cpc("node", "status", folder / "new")
    stale = change.rename(tmp_path / "stale.json")
    cpc(*propose, exit_code=EXIT_USAGE)
    assert f"set 1 of validators takes over at block {start}" in cpc.err
    # From there on no block is final without both.
    asyncio.run(reach(start + 3))
    (status,) = cpc.lines("node", "status", folder / "new")
    assert (status["role"], status["validators"]["number"]) == ("validator+proposer", 1)
    assert status["validators"]["quorum"] == 2
    cpc("node", "validators", "approve", stale, folder / "validator-1", exit_code=EXIT_USAGE)
    assert "this node has set 1 of validators in force" in cpc.err
    out = cpc("wallet", "balance", tmp_path / "alice.wallet", *there)
    assert "proven: it is so after block" in out
