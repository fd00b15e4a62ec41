"""`cpc init`, `cpc run` and `cpc status` as a user meets them, wrong turns included."""

import json
import os
import random
import signal
import socket
import stat
from pathlib import Path

import pytest

from gateway.cli_output import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from tests.gateway.commands import Cpc, finished, line_with, started
from tests.node_process import NodeProcess

LEAF_LOG = "(1700000000.000000) can0 123#DEADBEEF\n(1700000000.500000) can0 124#00\n"


@pytest.fixture
def genesis(car_config: Path) -> Path:
    return car_config.parent / "genesis.cbor"


def test_init_makes_a_folder_that_runs_and_says_how_to_undo_it(
    cpc: Cpc, car_node: NodeProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    out = cpc("init", folder, "--node", car_node.url)
    assert f"next: cpc run -c {folder}/gateway.toml" in out
    assert f"trusted because of what {car_node.url} said, this once" in out
    assert sorted(file.name for file in folder.iterdir()) == [
        "car.dbc",
        "gateway.key",
        "gateway.toml",
        "genesis.cbor",
    ]
    assert stat.S_IMODE((folder / "gateway.key").stat().st_mode) == 0o600
    cpc("run", "-c", folder / "gateway.toml", "--seconds", "0")


def test_init_never_overwrites_a_configuration(cpc: Cpc, genesis: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    cpc("init", folder, "--genesis", genesis)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    cpc("init", folder, "--genesis", genesis, "--name", "other", exit_code=EXIT_USAGE)
    assert "exists already and is not overwritten" in cpc.err
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_init_that_was_cut_off_is_taken_up_and_keeps_the_key(cpc: Cpc, genesis: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    cpc("init", folder, "--genesis", genesis)
    key = (folder / "gateway.key").read_bytes()
    (folder / "gateway.toml").unlink()
    (folder / "car.dbc").unlink()
    assert "(its key was there already)" in cpc("init", folder, "--genesis", genesis)
    assert (folder / "gateway.key").read_bytes() == key
    assert (folder / "car.dbc").exists()


def test_init_does_not_exchange_a_chain_that_is_trusted(cpc: Cpc, genesis: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with NodeProcess(tmp_path / "chain") as other:
        other_genesis = other.genesis.data
    folder.mkdir()
    (folder / "genesis.cbor").write_bytes(other_genesis)
    cpc("init", folder, "--genesis", genesis, exit_code=EXIT_USAGE)
    assert "is there already, and of another chain" in cpc.err
    assert (folder / "genesis.cbor").read_bytes() == other_genesis
    (folder / "genesis.cbor").write_bytes(b"no genesis")
    cpc("init", folder, "--genesis", genesis, exit_code=EXIT_FAILED)
    assert "is not a genesis file" in cpc.err


def unused_port() -> int:
    """A port that nobody is given who asks for any: else another test might have it before its turn."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("every port is taken")


def test_init_waits_for_a_node_that_is_just_being_started(tmp_path: Path) -> None:
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    # However long a loaded machine takes to start a node.
    with started("init", tmp_path / "site", "--node", url, "--wait-ms", 300_000) as init:
        assert init.stderr is not None
        assert line_with(init.stderr, "waiting for a node at")
        with started("node", "dev", "--data", tmp_path / "chain", "--port", port):
            assert init.wait() == EXIT_OK
    assert (tmp_path / "site" / "gateway.toml").exists()


def test_paths_of_the_command_line_start_from_here_and_those_of_the_file_from_there(
    cpc: Cpc, genesis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, car_node: NodeProcess
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a" / "trip.log").write_text(LEAF_LOG)
    monkeypatch.chdir(tmp_path / "a")
    cpc(
        *("init", "../b", "--genesis", os.path.relpath(genesis), "--node", car_node.url),
        *("--source", "replay:trip.log?speed=max"),
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    cpc("run", "-c", "../b/gateway.toml")
    records = cpc.lines("read", "-c", "../b/gateway.toml")
    assert [record["data"] for record in records] == ["deadbeef", "00"]
    assert list(Path().iterdir()) == []


def test_a_name_that_no_configuration_can_have_is_told(genesis: Path, tmp_path: Path) -> None:
    trace = tmp_path / os.fsdecode(b"trip-\xff.log")
    trace.write_text(LEAF_LOG)
    done = finished("init", tmp_path / "site", "--genesis", genesis, "--source", f"replay:{trace}")
    assert done.returncode == EXIT_USAGE
    assert b"is not UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr
    # A link with another name helps, as the message says; and commands that take any file take this one.
    (tmp_path / "link.log").symlink_to(trace)
    link = tmp_path / "link.log"
    done = finished("init", tmp_path / "site", "--genesis", genesis, "--source", f"replay:{link}")
    assert (done.returncode, done.stderr) == (EXIT_OK, b"")
    done = finished("inspect", trace)
    assert (done.returncode, done.stdout.splitlines()[0]) == (EXIT_OK, b"2 frames of 2 ids, 0.500 s long")


# ------------------------------------------------------------------------- run


@pytest.fixture
def offline(cpc: Cpc, genesis: Path, tmp_path: Path) -> Path:
    """The configuration of a gateway that finds no node."""
    trace = tmp_path / "trip.log"
    trace.write_text(LEAF_LOG)
    cpc(
        *("init", tmp_path / "site", "--genesis", genesis, "--node", "http://127.0.0.1:1"),
        *("--source", f"replay:{trace}?speed=max"),
    )
    return tmp_path / "site" / "gateway.toml"


def test_without_a_node_a_run_ends_with_everything_in_the_spool(
    cpc: Cpc, offline: Path, car_node: NodeProcess, caplog: pytest.LogCaptureFixture
) -> None:
    (summary,) = cpc.lines("run", "-c", offline, "--anchor-timeout-ms", "0", exit_code=EXIT_FAILED)
    assert summary["anchored_uploads"] == 0
    assert summary["streams"] == {"can0": {"records": 2, "dropped": 0, "damaged": 0}}
    assert "Cannot connect to host 127.0.0.1:1" in caplog.text
    (status,) = cpc.lines("status", "-c", offline)
    assert status["spool"]["records"] == 0
    assert status["streams"]["can0"]["anchored_uploads"] == 0
    text = offline.read_text()
    offline.write_text(text.replace("http://127.0.0.1:1", car_node.url))
    # The trace is taken in once more, behind what has waited.
    (summary,) = cpc.lines("run", "-c", offline)
    assert summary["waiting_uploads"] == summary["waiting_segments"] == summary["waiting_records"] == 0
    assert len(cpc.lines("read", "-c", offline)) == 4


def test_the_first_signal_ends_a_run_in_order_and_the_second_at_once(cpc: Cpc, offline: Path) -> None:
    text = offline.read_text()
    offline.write_text(text.replace("speed=max", "speed=0.001"))
    with started("run", "-c", offline, "--anchor-timeout-ms", "600000") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line_with(process.stdout, "stream can0 from")
        line_with(process.stderr, "Cannot connect")
        process.send_signal(signal.SIGINT)
        line_with(process.stderr, "stopping: what was taken in is sealed")
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=30)
        assert process.returncode == EXIT_FAILED
        assert "Traceback" not in errors
        assert "in the spool wait" in rest or "0 anchored" in rest
    (status,) = cpc.lines("status", "-c", offline)
    assert status["is_running"] is False


def test_a_signal_has_the_configuration_read_again(offline: Path) -> None:
    text = offline.read_text().replace("speed=max", "speed=0.001")
    offline.write_text(text)
    with started("run", "-c", offline) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line_with(process.stdout, "stream can0 from")
        line_with(process.stderr, "Cannot connect")
        offline.write_text(text.replace('overrun = ""', 'overrun = "drop-oldest"'))
        process.send_signal(signal.SIGHUP)
        line = line_with(process.stderr, "configuration not reloaded, the one before goes on: ")
        assert "its source waits, and loses nothing; leave it out" in line
        offline.write_text(text.replace("upload_segments = 12", "upload_segments = 3"))
        process.send_signal(signal.SIGHUP)
        line_with(process.stderr, "configuration reloaded: streams: changed can0")


def test_a_second_gateway_on_the_same_folder_is_refused(cpc: Cpc, offline: Path) -> None:
    offline.write_text(offline.read_text().replace("speed=max", "speed=0.001"))
    with started("run", "-c", offline) as process:
        assert process.stdout is not None
        line_with(process.stdout, "stream can0 from")
        (status,) = cpc.lines("status", "-c", offline)
        assert status["is_running"] is True
        cpc("run", "-c", offline, exit_code=EXIT_FAILED)
        assert "another process runs the gateway" in cpc.err
        process.send_signal(signal.SIGKILL)
        process.wait()
    (status,) = cpc.lines("status", "-c", offline)
    assert status["is_running"] is False


def test_tail_follows_a_running_gateway_and_ends_with_its_reader(offline: Path) -> None:
    config = offline
    config.write_text(
        '[chain]\nnode_url = "http://127.0.0.1:1"\n[[stream]]\nname = "can0"\nsource = "sim:car"\n'
    )
    with started("tail", "-c", config, "--all", "--json") as tail:
        assert tail.stderr is not None
        assert tail.stdout is not None
        line_with(tail.stderr, "waiting for the gateway to start")
        with started("run", "-c", config):
            first, second = (json.loads(tail.stdout.readline()) for _ in range(2))
            assert (first["record"], second["record"]) == ("can0/1/0", "can0/1/1")
            tail.stdout.close()
            assert tail.wait(30) == EXIT_FAILED
            errors = tail.stderr.read()
            assert "Traceback" not in errors
            assert "does not run" not in errors


def test_tail_beside_a_gateway_that_has_ended_says_what_it_waits_for(cpc: Cpc, offline: Path) -> None:
    cpc.lines("run", "-c", offline, "--anchor-timeout-ms", "0", exit_code=EXIT_FAILED)
    assert cpc("tail", "-c", offline, "--seconds", "1") == ""
    assert cpc.err == (
        f"the gateway does not run: what stream can0 takes in appears here once cpc run -c {offline} has "
        f"started it; cpc read -c {offline} shows what it took in before\n"
    )


def test_status_and_tail_of_a_gateway_that_never_ran_say_so(cpc: Cpc, offline: Path) -> None:
    cpc("status", "-c", offline, exit_code=EXIT_FAILED)
    assert "start it with cpc run" in cpc.err
    cpc("tail", "-c", offline, "--seconds", "1", exit_code=EXIT_FAILED)
    assert "waiting for the gateway to start" in cpc.err
    (error,) = cpc.lines("status", "-c", offline, exit_code=EXIT_FAILED)
    assert error["error"] == "NotRunYet"


def test_a_node_of_another_chain_is_told_at_once_and_stops_nothing(
    cpc: Cpc, offline: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with NodeProcess(tmp_path / "other") as other:
        offline.write_text(offline.read_text().replace("http://127.0.0.1:1", other.url))
        (summary,) = cpc.lines("run", "-c", offline, "--anchor-timeout-ms", "500", exit_code=EXIT_FAILED)
    assert summary["streams"]["can0"]["records"] == 2
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(messages) == 1
    assert "is of another chain" in messages[0]
    assert "correct node_url or genesis" in messages[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--seconds", "-1"), b"is not a whole number"),
        (("run", "--seconds", "1.5"), b"is not a whole number"),
        (("node", "dev", "--port", "70000"), b"is not a port"),
        (("run", "--wrong"), b"unrecognized arguments"),
        (("nonsense",), b"invalid choice"),
        ((), b"required: COMMAND"),
    ],
)
def test_wrong_options_are_told_to_people_and_machines(arguments: tuple[str, ...], says: bytes) -> None:
    done = finished(*arguments, *(["--json"] if arguments else []))
    assert done.returncode == EXIT_USAGE
    assert says in done.stderr
    if arguments:
        error = json.loads(done.stdout)
        assert error["error"] == "UsageError"


def test_a_node_ends_with_its_signal(tmp_path: Path) -> None:
    with started("node", "dev", "--data", tmp_path / "chain", "--port", "0", "--json") as process:
        assert process.stdout is not None
        value = json.loads(process.stdout.readline())
        assert value["height"] == 0
        done = finished("node", "dev", "--data", tmp_path / "chain", "--port", "0")
        assert (done.returncode, b"a node runs on this folder" in done.stderr) == (EXIT_FAILED, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == EXIT_OK
