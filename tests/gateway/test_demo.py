"""`cpc demo`: everything holds, it leaves nothing behind, and a useless trace is told before it starts."""

import contextlib
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from gateway.cli_output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from gateway.demo import flip_bit
from gateway.store import LocalStore
from puf.hkdf import sha256
from tests.gateway.commands import LINKS, Cpc, command, finished, line_with, started, users

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "can"
HEADINGS = [
    "1. A main chain and a gateway",
    "2. Records in: batched, sealed, stored, anchored",
    "3. The proof of one record: cpc verify can0/1/",
    "4. ",
    "5. One bit flips in the store: cpc verify again",
]


def candump(count: int, step_ms: int = 10) -> str:
    """A trace of three ids."""
    return "".join(
        f"({1_700_000_000 + number * step_ms / 1000:.6f}) can0 {0x100 + number % 3:03X}#{number:08X}\n"
        for number in range(count)
    )


def assert_everything_held(out: str) -> None:
    lines = out.splitlines()
    for heading in HEADINGS:
        assert any(line.startswith(heading) for line in lines), heading
    oks = [line for line in lines if line.startswith("ok ")]
    assert [
        re.sub(" +", " ", line)[3 : 3 + len(name)] for line, name in zip(oks, LINKS, strict=True)
    ] == LINKS
    (fail,) = [line for line in lines if line.startswith("FAIL")]
    assert "bit 3 of byte" in fail
    assert any(line.startswith("flipped it back: proven again") for line in lines)
    assert lines[-1] == "done: everything held"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its folder; must be empty afterwards."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_a_simulated_car_is_driven_proven_granted_and_damaged(scratch: Path) -> None:
    done = finished("demo", "--seconds", "2")
    assert (done.returncode, done.stderr) == (EXIT_OK, b"")
    out = done.stdout.decode()
    assert_everything_held(out)
    assert "a simulated car, 1000 frames a second for 2 s" in out
    assert re.search(r"opens +\d+ of \d+ records: exactly those of that time", out)
    closed = re.search(r"closed +(\d+) records, whose keys the grant does not give", out)
    assert closed is not None
    assert int(closed[1]) > 0
    assert re.search(r"Engine: EngineSpeed=[\d.]+  ThrottlePosition=", out)
    assert re.search(r"-- validator 3 is killed after block \d+\n", out)
    outage = re.search(
        r"-- (\d+) blocks and (\d+) anchored uploads? without it; impeached when its turn came: block (\d+)",
        out,
    )
    assert outage is not None
    assert int(outage[1]) >= 4
    assert int(outage[2]) >= 1
    revived = re.search(r"-- validator 3 is revived, has fetched the (\d+) blocks that it missed", out)
    assert revived is not None
    assert int(revived[1]) >= int(outage[1])
    assert re.search(r"block certified +by [34] of the 4 validators of chain dev", out)
    assert list(scratch.iterdir()) == []


def in_a_terminal(*arguments: object) -> tuple[int, str]:
    """(exit code, output) of a command under a terminal of a hundred columns."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        command(*arguments),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=users() | {"COLUMNS": "100"},
    ) as process:
        os.close(follower)
        out = b""
        # At its end a terminal is not read any more: Linux calls that an error.
        with contextlib.suppress(OSError):
            while part := os.read(leader, 1 << 16):
                out += part
    os.close(leader)
    return process.returncode, out.decode().replace("\r\n", "\n")


def test_a_trace_is_replayed_in_a_terminal_and_its_site_kept(cpc: Cpc, scratch: Path, tmp_path: Path) -> None:
    trace, kept = tmp_path / "trip.log", tmp_path / "kept"
    trace.write_text(candump(150))
    code, out = in_a_terminal("demo", "--trace", trace, "--keep", kept)
    assert code == EXIT_OK, out
    assert_everything_held(out)
    assert "150 records taken in, 1 uploads anchored; 0 frames dropped, 0 lines damaged" in out
    # Paths are as long as they are.
    assert [line for line in out.splitlines() if len(line) > 100 and str(tmp_path) not in line] == []
    config = kept / "site" / "gateway.toml"
    assert len(cpc.lines("read", "-c", config)) == 150
    (proof,) = cpc.lines("verify", "-c", config, "can0/1/7")
    assert proof["is_proven"] is True
    cpc("demo", "--keep", kept, exit_code=EXIT_USAGE)
    assert "exists already" in cpc.err
    assert list(scratch.iterdir()) == []


def test_one_frame_of_a_trace_that_is_cut_is_enough(scratch: Path, tmp_path: Path) -> None:
    trace = tmp_path / "one?.log"
    trace.write_text(candump(2)[:-3] + "Z")
    done = finished("demo", "--trace", trace)
    assert done.returncode == EXIT_OK, done.stderr
    assert b"damaged line 2" in done.stderr
    out = done.stdout.decode()
    # The frame, and the gap in the place of the other.
    assert "2 records taken in, 1 uploads anchored; 0 frames dropped, 1 lines damaged" in out
    assert_everything_held(out)


def test_an_interrupted_demo_cleans_up(scratch: Path) -> None:
    with started("demo") as process:
        assert process.stdout is not None
        line_with(process.stdout, "2. Records in")
        os.kill(process.pid, 2)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in errors
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "content", "code", "says"),
    [
        (("--trace", "none.log"), None, EXIT_USAGE, "there is no file none.log"),
        (("--trace", "TRACE", "--dbc", "none.dbc"), "x", EXIT_USAGE, "there is no file none.dbc"),
        (("--dbc", "none.dbc"), None, EXIT_USAGE, "--dbc goes with --trace"),
        (("--seconds", "0"), None, EXIT_USAGE, "--seconds goes from 1 to 30"),
        (("--seconds", "31"), None, EXIT_USAGE, "--seconds goes from 1 to 30"),
        (("--trace", "TRACE"), "", EXIT_FAILED, "the file is empty"),
        (("--trace", "TRACE"), "\x00\x01\x02" * 500, EXIT_FAILED, "no CAN trace"),
        (("--trace", "TRACE", "--dbc", "TRACE"), "(1.0) can0 123#00\n", EXIT_FAILED, "trip"),
    ],
)
def test_what_is_no_use_is_told_before_anything_starts(
    cpc: Cpc,
    scratch: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    content: str | None,
    code: int,
    says: str,
) -> None:
    trace = tmp_path / "trip"
    if content is not None:
        trace.write_text(content)
    out = cpc("demo", *(str(trace) if each == "TRACE" else each for each in arguments), exit_code=code)
    assert out == ""
    assert says in cpc.err
    assert list(scratch.iterdir()) == []


def test_a_trace_without_a_frame_has_nothing_to_prove(cpc: Cpc, scratch: Path, tmp_path: Path) -> None:
    trace = tmp_path / "empty.trc"
    trace.write_text(";$FILEVERSION=1.1\n")
    out = cpc("demo", "--trace", trace, exit_code=EXIT_FAILED)
    assert "0 records taken in" in out
    assert "no frame was taken in and anchored, so there is nothing to prove" in cpc.err
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("file_size_min", [1, 1 << 20])
def test_a_flipped_bit_is_one_bit_wherever_the_chunk_lies(tmp_path: Path, file_size_min: int) -> None:
    body = bytes(range(100))
    store = LocalStore(tmp_path, file_size_min=file_size_min)
    store.put({sha256(body): body})
    flip_bit(tmp_path, sha256(body), 10, 3)
    assert store.read(sha256(body)) == body[:10] + bytes([10 ^ 8]) + body[11:]
    flip_bit(tmp_path, sha256(body), 10, 3)
    assert store.get(sha256(body)) == body
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize(("trace", "dbc"), [("passat-idling.trc", "vw_pq.dbc"), ("nissan-leaf.log", None)])
def test_real_traces(scratch: Path, trace: str, dbc: str | None) -> None:
    if not SHARED.is_dir():
        pytest.skip("real traces are not here: ../shared/data/can")
    options = () if dbc is None else ("--dbc", SHARED / dbc)
    done = finished("demo", "--seconds", "1", "--trace", SHARED / trace, *options)
    assert done.returncode == EXIT_OK, done.stderr
    assert_everything_held(done.stdout.decode())
