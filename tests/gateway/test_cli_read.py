"""`cpc inspect`, `read` and `export`: formats, time ranges, damage, encodings, and readers that go away."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway import cli_read
from gateway.cli_output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NOT_PROVEN, EXIT_OK, EXIT_USAGE
from tests.gateway.commands import SECONDS, Cpc, command, finished, users

NS_PER_S = 10**9


@pytest.fixture(scope="module")
def everything(car_config: Path) -> list[dict[str, Any]]:
    """All records, as `cpc read --json` gives them."""
    done = finished("read", "-c", car_config, "--json")
    assert done.returncode == EXIT_OK
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "first_ns", "end_ns"),
    [
        ((), 0, 1 << 62),
        (("--from", "start"), 0, 1 << 62),
        (("--from", "start+5s"), 5 * NS_PER_S, 1 << 62),
        (("--to", "start+5s"), 0, 5 * NS_PER_S),
        (("--from", "start+1500ms", "--to", "start+2.5s"), 1_500_000_000, 2_500_000_000),
    ],
)
def test_a_time_range_gives_exactly_its_records(
    cpc: Cpc,
    car_config: Path,
    everything: list[dict[str, Any]],
    options: tuple[str, ...],
    first_ns: int,
    end_ns: int,
) -> None:
    start_ns = everything[0]["taken_ns"]
    assert cpc.lines("read", "-c", car_config, *options) == [
        record for record in everything if first_ns <= record["taken_ns"] - start_ns < end_ns
    ]


def test_the_end_is_included_and_a_range_behind_it_is_empty(
    cpc: Cpc, car_config: Path, everything: list[dict[str, Any]]
) -> None:
    (last,) = cpc.lines("read", "-c", car_config, "--from", "end")
    assert last == everything[-1]
    assert cpc.lines("read", "-c", car_config, "--from", "end+1h", "--to", "end+2h") == []


def test_a_relative_moment_without_any_record_is_told(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    text = car_config.read_text() + '\n[[stream]]\nname = "can1"\nsource = "sim:car"\n'
    for name in ("gateway.key", "genesis.cbor", "car.dbc", "store", "spool"):
        (tmp_path / name).symlink_to(car_config.parent / name)
    (tmp_path / "gateway.toml").write_text(text)
    new = ("read", "-c", tmp_path / "gateway.toml", "--stream", "can1")
    cpc(*new, "--from", "start+1s", exit_code=EXIT_USAGE)
    assert "stream can1 has nothing stored, so start and end mean nothing" in cpc.err
    assert cpc(*new) == ""


def test_raw_shows_frames_as_they_were_taken(
    cpc: Cpc, car_config: Path, everything: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = cpc.lines("read", "-c", car_config, "--raw", "--to", "start+1s")
    assert raw == [
        {name: value for name, value in record.items() if name != "values"}
        for record in everything[: len(raw)]
    ]
    # Also on a machine that cannot decode, where reading says what to install.
    monkeypatch.setitem(sys.modules, "cantools", None)
    monkeypatch.setitem(sys.modules, "cantools.database", None)
    cpc("read", "-c", car_config, "--to", "start+1s", exit_code=EXIT_FAILED)
    assert "pip install 'cpchain-edge[dbc]'" in cpc.err
    assert cpc.lines("read", "-c", car_config, "--raw", "--to", "start+1s") == raw


# ---------------------------------------------------------------------- export


def test_jsonl_and_csv_say_the_same(
    cpc: Cpc, car_config: Path, everything: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = cpc("export", "-c", car_config, "-o", tmp_path / "trip.jsonl")
    assert out == f"{len(everything)} records written to {tmp_path / 'trip.jsonl'}\n"
    lines = [json.loads(line) for line in (tmp_path / "trip.jsonl").read_text().splitlines()]
    assert lines == everything
    (summary,) = cpc.lines(*("export", "-c", car_config, "--format", "csv", "-o", tmp_path / "trip.csv"))
    assert summary == {"file": str(tmp_path / "trip.csv"), "records": len(everything)}
    with (tmp_path / "trip.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, everything, strict=True):
        assert (row["record"], int(row["taken_ns"]), int(row["id"]), row["data"]) == (
            record["record"],
            record["taken_ns"],
            record["id"],
            record["data"],
        )
        assert json.loads(row["values"]) == record["values"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["trip.csv", "trip.jsonl"]


def test_an_export_to_a_pipe_is_nothing_but_records(
    car_config: Path, everything: list[dict[str, Any]]
) -> None:
    done = finished("export", "-c", car_config)
    assert [json.loads(line) for line in done.stdout.splitlines()] == everything


def test_an_export_that_ends_early_leaves_nothing_behind(
    cpc: Cpc, car_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def interrupted(value: Any) -> str:
        nonlocal count
        count += 1
        if count > 10:
            raise KeyboardInterrupt
        return "{}"

    monkeypatch.setattr(cli_read, "json_text", interrupted)
    cpc("export", "-c", car_config, "-o", tmp_path / "trip.jsonl", exit_code=EXIT_INTERRUPTED)
    assert list(tmp_path.iterdir()) == []


def test_an_export_never_overwrites(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    file = tmp_path / "trip.jsonl"
    file.write_text("mine")
    cpc("export", "-c", car_config, "-o", file, exit_code=EXIT_USAGE)
    assert "exists already; it is not overwritten" in cpc.err
    assert file.read_text() == "mine"
    cpc("export", "-c", car_config, "-o", tmp_path / "no" / "trip.jsonl", exit_code=EXIT_FAILED)
    assert "no such file or directory" in cpc.err


def test_a_file_that_appears_meanwhile_is_not_replaced(
    cpc: Cpc, car_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trip.jsonl"

    def text(value: Any) -> str:
        file.write_text("another's")
        return "{}"

    monkeypatch.setattr(cli_read, "json_text", text)
    cpc("export", "-c", car_config, "-o", file, exit_code=EXIT_USAGE)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("trip.jsonl", "another's")]


def test_damage_is_named_and_the_rest_exported(
    cpc: Cpc, car_config: Path, everything: list[dict[str, Any]], tmp_path: Path
) -> None:
    database = apsw.Connection(str(car_config.parent / "store" / "store.db"))
    chunk_id, body = database.execute(
        "SELECT chunk_id, body FROM chunk WHERE substr(body, 1, 1) = x'88' LIMIT 1"
    ).fetchone() or (b"", b"")
    database.execute("DELETE FROM chunk WHERE chunk_id = ?", (chunk_id,))
    try:
        *_, problem = cpc.lines("read", "-c", car_config, exit_code=EXIT_NOT_PROVEN)
        assert problem["error"] == "NotRead"
        assert chunk_id.hex()[:16] in problem["message"]
        cpc("export", "-c", car_config, "-o", tmp_path / "trip.jsonl", exit_code=EXIT_NOT_PROVEN)
        count = len((tmp_path / "trip.jsonl").read_text().splitlines())
        assert 0 < count < len(everything)
        assert "not read: upload 0, block" in cpc.err
    finally:
        database.execute(
            "INSERT INTO chunk (chunk_id, size, body) VALUES (?, ?, ?)", (chunk_id, len(body), body)
        )
        database.close()


def test_much_damage_is_summed_up_for_people_and_listed_for_machines(
    cpc: Cpc, car_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(car_config.parent, folder)
    database = apsw.Connection(str(folder / "store" / "store.db"))
    database.execute("UPDATE chunk SET body = zeroblob(9) WHERE substr(body, 1, 1) = x'88'")
    database.close()
    monkeypatch.setattr(cli_read, "PROBLEMS_SHOWN_MAX", 5)
    problems = cpc.lines("read", "-c", folder / "gateway.toml", exit_code=EXIT_NOT_PROVEN)
    assert len(problems) >= SECONDS
    assert {problem["error"] for problem in problems} == {"NotRead"}
    cpc("read", "-c", folder / "gateway.toml", exit_code=EXIT_NOT_PROVEN)
    *shown, rest = cpc.err.splitlines()
    assert len(shown) == 5
    assert rest == f"not read: {len(problems) - 5} more; --json names them all"


# -------------------------------------------------------- terminals and pipes


@pytest.mark.parametrize("name", ["read", "export"])
def test_a_reader_that_goes_away_ends_the_command_quietly(car_config: Path, name: str) -> None:
    with subprocess.Popen(
        command(name, "-c", car_config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=users()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == EXIT_FAILED


def test_a_reader_that_never_was_there_is_no_crash_at_the_end(car_config: Path) -> None:
    with subprocess.Popen(
        command("export", "-c", car_config, "--to", "start+50ms"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=users(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # Before so few records leave its buffer, which they do at the very end.
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == EXIT_FAILED


def test_an_output_that_is_full_is_told(car_config: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = finished("export", "-c", car_config, stdout=full)
    assert done.returncode == EXIT_FAILED
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    with Path("/dev/full").open("wb") as full:
        done = finished("status", "-c", "nowhere.toml", "--json", stdout=full)
    assert done.returncode == EXIT_USAGE
    assert b"Traceback" not in done.stderr


def test_a_terminal_that_knows_only_ascii_gets_ascii(car_config: Path, tmp_path: Path) -> None:
    trace = tmp_path / "Grüße.log"
    trace.write_text("(1.0) can0 123#00\nkaputt ü\n")
    dbc = tmp_path / "ü.dbc"
    dbc.write_text(
        'VERSION ""\n\nBU_: A\n\nBO_ 291 M: 8 A\n SG_ S : 0|8@1+ (1,0) [0|255] "°" A\n\n'
        'VAL_ 291 S 0 "groß" ;\n'
    )
    environment = users() | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    file = tmp_path / "Fahrt über Land.csv"
    for arguments in (
        ("inspect", trace, "--dbc", dbc),
        ("inspect", trace, "--dbc", dbc, "--json"),
        ("export", "-c", car_config, "--to", "start+1s", "--format", "csv", "-o", file),
    ):
        done = finished(*arguments, env=environment)
        assert done.returncode == EXIT_OK, done.stderr
        assert done.stdout.isascii()
        assert b"Traceback" not in done.stderr


def test_what_others_wrote_cannot_steer_the_terminal(cpc: Cpc, tmp_path: Path) -> None:
    trace = tmp_path / "evil\x1b[2J.log"
    trace.write_text("(1.0) can0 123#00\n\x1b[31mred\x9b alert\n")
    out = cpc("inspect", trace)
    assert "\x1b" not in out + cpc.err
    assert "\x9b" not in out + cpc.err
    cpc("inspect", tmp_path / "\x1b[2J", exit_code=EXIT_FAILED)
    assert "\x1b" not in cpc.err
    assert "\\x1b[2J" in cpc.err


def test_inspect_tells_frames_damage_and_what_the_dbc_explains(cpc: Cpc, tmp_path: Path) -> None:
    trace = tmp_path / "trip.log"
    trace.write_text("(1.0) can0 123#00\n(1.5) can0 124#0102\n(2.0) can0 125#\nnonsense\n(2.0) can0 1x3#00\n")
    (result,) = cpc.lines("inspect", trace)
    assert (result["frames"], result["ids"], result["duration_ms"]) == (3, 3, 1000)
    assert result["damaged_lines"] >= 1
    (tmp_path / "bin.trc").write_bytes(bytes(range(256)))
    (error,) = cpc.lines("inspect", tmp_path / "bin.trc", exit_code=EXIT_FAILED)
    assert error["error"] == "NotATrace"
    (tmp_path / "bad.dbc").write_text("this is no DBC")
    (error,) = cpc.lines("inspect", trace, "--dbc", tmp_path / "bad.dbc", exit_code=EXIT_FAILED)
    assert error["error"] == "BadDbc"
