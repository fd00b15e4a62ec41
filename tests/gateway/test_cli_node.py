"""`cpc node` as a user meets it: a network from nothing, in processes; one of them killed and revived."""

import asyncio
import contextlib
import json
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chain_node.folder_files import read_key
from chain_node.light_http import NodeClient
from chain_node.node_folder import RPC_OFFSET
from chain_node.peer_address import Address, parse_address
from chain_node.transaction import Transaction, Transfer
from chain_node.wire import Genesis
from gateway.cli_output import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from tests.chain_node.peering import Net, until
from tests.chain_node.world import BOB, genesis_of, key
from tests.gateway.commands import Cpc, started

PERIOD_MS = 200


def free_base_port(count: int) -> int:
    """The first of so many ports that nobody listens on, nor on those of their JSON-RPC."""
    for _ in range(100):
        base = random.randrange(20_000, 32_000)
        with ExitStack() as stack, contextlib.suppress(OSError):
            for port in (*range(base, base + count), *range(base + RPC_OFFSET, base + RPC_OFFSET + count)):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return base
    raise AssertionError("a hundred times no free ports")


def test_a_test_network_is_made_with_the_commands_that_start_it(cpc: Cpc, tmp_path: Path) -> None:
    out = cpc("node", "init", tmp_path / "net", "--validators", 4, "--proposers", 2, "--base-port", 7600)
    assert f"\n  cpc node run {tmp_path}/net/proposer-2 &\n" in out
    assert "dial = [" in (tmp_path / "net/validator-1/node.toml").read_text()
    (told,) = cpc.lines("node", "init", tmp_path / "one", "--validators", 1, "--name", "mine")
    assert told["nodes"] == [
        {
            "folder": f"{tmp_path}/one/validator-1",
            "listen": "127.0.0.1:7600",
            "rpc": "http://127.0.0.1:7700",
        }
    ]
    genesis = Genesis.decode(Path(told["genesis"]).read_bytes())
    assert (genesis.name, genesis.chain_id.hex()) == ("mine", told["chain_id"])


def test_a_single_node_is_made_from_a_genesis(cpc: Cpc, tmp_path: Path) -> None:
    path = tmp_path / "genesis.cbor"
    path.write_bytes(genesis_of().data)
    (told,) = cpc.lines(
        *("node", "init", tmp_path / "mine", "--genesis", path, "--peer", "node.example:7600"),
        *("--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:7999"),
    )
    assert told["chain_id"] == genesis_of().chain_id.hex()
    text = (tmp_path / "mine/node.toml").read_text()
    assert '"node.example:7600"' in text
    assert 'listen = "127.0.0.1:7999"' in text
    cpc("node", "init", tmp_path / "mine", "--genesis", path, exit_code=EXIT_FAILED)
    assert "node.toml is there already" in cpc.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "say --genesis FILE for a single node, or --validators N for a test network"),
        (["--validators", "4", "--genesis", "x"], "say --genesis FILE for a single node, or --validators N"),
        (["--validators", "4", "--rpc", "h:1"], "a test network needs none"),
        (["--validators", "4", "--block-period-ms", "0"], "--block-period-ms is at least 1"),
        (["--genesis", "GENESIS", "--observers", "1"], "--proposers and --observers are of a test network"),
        (["--genesis", "GENESIS", "--peer", "nowhere"], "--peer 'nowhere' is no address; write for example"),
    ],
)
def test_wrong_usage_is_told(cpc: Cpc, tmp_path: Path, arguments: list[str], why: str) -> None:
    (tmp_path / "genesis.cbor").write_bytes(genesis_of().data)
    given = [str(tmp_path / "genesis.cbor") if each == "GENESIS" else each for each in arguments]
    cpc("node", "init", tmp_path / "net", *given, exit_code=EXIT_USAGE)
    assert why in cpc.err


def test_a_node_that_does_not_run_and_a_folder_that_is_none_are_told_apart(cpc: Cpc, tmp_path: Path) -> None:
    cpc("node", "init", tmp_path / "net", "--validators", 1, "--base-port", free_base_port(1))
    cpc("node", "status", tmp_path / "net/validator-1", exit_code=EXIT_FAILED)
    assert "node http://127.0.0.1:" in cpc.err
    cpc("node", "peers", tmp_path / "nowhere", exit_code=EXIT_USAGE)
    assert "node.toml:1: there is no such file; cpc node init makes one" in cpc.err
    config = tmp_path / "net/validator-1/node.toml"
    config.write_text(config.read_text().replace("listen =", "lisen =", 1))
    cpc("node", "run", tmp_path / "net/validator-1", exit_code=EXIT_USAGE)
    assert "[peers] lisen is not known; do you mean listen?" in cpc.err


class Processes:
    """The nodes of a test network, each in a process of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.told: dict[str, dict[str, Any]] = {}
        """What each has said of itself."""
        self._stack = stack
        self._processes: dict[str, Any] = {}

    def start(self, *names: str) -> None:
        """Start nodes, all at once, and wait until each listens."""
        for name in names:
            context = started("node", "run", self.folder / name, "--json")
            self._processes[name] = self._stack.enter_context(context)
        for name in names:
            self.told[name] = json.loads(self._processes[name].stdout.readline())

    def kill(self, name: str, number: signal.Signals) -> int:
        """End a node; its exit code."""
        self._processes[name].send_signal(number)
        code: int = self._processes[name].wait(30)
        return code


@pytest.fixture
def network(cpc: Cpc, tmp_path: Path) -> Iterator[Processes]:
    folder = tmp_path / "net"
    cpc(
        *("node", "init", folder, "--validators", 4, "--proposers", 1, "--observers", 1),
        *("--base-port", free_base_port(6), "--block-period-ms", PERIOD_MS),
    )
    with ExitStack() as stack:
        yield Processes(folder, stack)


@pytest.mark.slow
def test_four_validators_commit_lose_one_and_get_it_back(
    cpc: Cpc, network: Processes, tmp_path: Path
) -> None:
    genesis = Genesis.decode((network.folder / "genesis.cbor").read_bytes())
    treasury = read_key(network.folder / "treasury.key", "")
    network.start("validator-1", "validator-2", "validator-3", "validator-4", "proposer-1", "observer-1")

    def pay(nonce: int) -> Transaction:
        return Transaction.sign(treasury, genesis.chain_id, nonce, Transfer(BOB.public, 5), 1_000)

    async def story() -> None:
        net = Net(tmp_path, genesis)
        address = parse_address(network.told["observer-1"]["address"])
        assert isinstance(address, Address)
        # What this one has, came over two hops: members, the observer, and then it.
        watcher = (await net.start("watcher", key("watcher"), [address])).node

        async def committed(transaction: Transaction) -> None:
            async with NodeClient(network.told["observer-1"]["url"]) as client:
                await client.submit(transaction)
            await until(lambda: watcher.storage.find_transaction(transaction.tx_hash) is not None)

        try:
            await committed(pay(0))
            assert network.kill("validator-2", signal.SIGKILL) == -signal.SIGKILL
            await committed(pay(1))
            await net.reach(watcher.head.height + 2)
            network.start("validator-2")
            async with NodeClient(network.told["validator-2"]["url"]) as client:
                height = watcher.head.height
                while int(str((await client.ask("node_status"))["height"])) < height:
                    await watcher.wait_for_height(watcher.head.height + 1)
                while (status := await client.ask("node_status"))["member_count"] != 4:
                    await watcher.wait_for_height(watcher.head.height + 1)
            assert (status["role"], status["trouble"]) == ("validator", "")
            # It votes again: without one of the others there is no quorum but with it.
            network.kill("validator-3", signal.SIGKILL)
            await committed(pay(2))
        finally:
            await net.stop("watcher")

    asyncio.run(story())
    out = cpc("node", "peers", network.folder / "observer-1")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["key", "role", "address", "height", "latency", "score"]
    for name in ("validator-1", "validator-4", "proposer-1"):
        public = network.told[name]["public"]
        assert [row[1] for row in rows if row[0] == f"{public[:12]}.."] == [name[:-2]]
    assert "no trouble" in cpc("node", "status", network.folder / "observer-1")
    assert network.kill("observer-1", signal.SIGTERM) == EXIT_OK
    assert network.kill("proposer-1", signal.SIGINT) == EXIT_OK
