"""`cpc prove` and `cpc verify`: a record, a file of records, a proof somebody sent, and what is not true."""

import json
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway import cli_verify
from gateway.cli import main
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_OK, EXIT_USAGE
from gateway.crypto.key_file import load_gateway_key
from gateway.proof import Proof, collect
from gateway.record import RecordName
from gateway.site import open_as_owner
from tests.gateway.commands import LINKS, Cpc, finished

EVER = ("--from", "start-5s", "--to", "end+5s")


@pytest.fixture(scope="module")
def trip(car_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of three seconds."""
    file = tmp_path_factory.mktemp("export") / "trip.jsonl"
    done = finished("export", "-c", car_config, "--to", "start+3s", "-o", file)
    assert done.returncode == EXIT_OK
    return file


def failures(cpc: Cpc, car_config: Path, file: Path, *options: str) -> list[dict[str, Any]]:
    """What `cpc verify` names of a file that does not hold."""
    *found, summary = cpc.lines("verify", "-c", car_config, file, *options, exit_code=EXIT_NOT_PROVEN)
    assert summary["failures"] == len(found) > 0
    return found


def edited(trip: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], Any], number: int = 10) -> Path:
    """The export with one line changed."""
    lines = trip.read_text().splitlines()
    line = json.loads(lines[number])
    changed = edit(line)
    lines[number] = changed if isinstance(changed, str) else json.dumps(line)
    file = tmp_path / "edited.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


def put(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda line: line.update(fields)


def drop(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda line: line.pop(name) and None


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (put(data="00"), 'data is "00" in the file'),
        (put(id=1), "id is 1 in the file"),
        (put(flags=True), "flags is true in the file"),
        (put(taken_ns=0), "taken_ns is 0 in the file"),
        (lambda line: line.update(taken_ns=float(line["taken_ns"])), "taken_ns is 1."),
        (put(record="can0/1/11"), "is what was recorded"),
        (put(record="can0/2/10"), "no upload in the store has can0/2/10"),
        (put(record="can7/1/10"), "no stream is called 'can7'"),
        (put(record=None), "is not a record's name"),
        (put(values={"EngineSpeed": 9000}), 'values is {"EngineSpeed": 9000} in the file'),
        (put(gap={"reason": "x", "count": 1, "from_ns": 0, "to_ns": 0}), "missing is what was recorded"),
        (put(note="by the way"), 'note is "by the way" in the file, missing is what was recorded'),
        (drop("data"), "data is missing in the file"),
        (drop("record"), "is not a record's name"),
        (lambda line: "{not json", "not a record"),
        (lambda line: "[1, 2]", "not a record"),
        (lambda line: '"' + "x" * (cli_verify.LINE_SIZE_MAX + 5) + '"', "not a record"),
    ],
)
def test_a_line_that_claims_anything_else_is_named(
    cpc: Cpc, car_config: Path, trip: Path, tmp_path: Path, edit: Callable[[Any], Any], says: str
) -> None:
    (failure,) = failures(cpc, car_config, edited(trip, tmp_path, edit))
    assert failure["line"] == 11
    assert says in failure["failure"]


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Of what is proven from now on, a name for each proof."""
    collected: list[Any] = []

    def counted(*arguments: Any) -> Proof:
        collected.append(arguments[2])
        return collect(*arguments)

    monkeypatch.setattr(cli_verify, "collect", counted)
    return collected


def test_a_whole_export_is_proven_block_by_block(
    cpc: Cpc, car_config: Path, trip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = count_calls(monkeypatch)
    count = len(trip.read_text().splitlines())
    (summary,) = cpc.lines("verify", "-c", car_config, trip)
    assert summary == {"records": count, "failures": 0, "values_unchecked": 0, "left_out": 0}
    # One proof for each block of a second, not one for each record.
    assert len(collected) <= 4
    assert count > 500


def test_the_order_of_lines_does_not_matter(cpc: Cpc, car_config: Path, trip: Path, tmp_path: Path) -> None:
    lines = trip.read_text().splitlines()[::97]
    file = tmp_path / "reversed.jsonl"
    file.write_text("\n".join(reversed(lines)))
    (summary,) = cpc.lines("verify", "-c", car_config, file)
    assert summary["records"] == len(lines)


def test_values_that_nobody_can_decode_are_said_to_be_unchecked(
    cpc: Cpc, car_config: Path, trip: Path, tmp_path: Path
) -> None:
    key, grant = tmp_path / "bob.key", tmp_path / "bob.grant"
    cpc("key", key)
    cpc(
        *(
            "grant",
            "-c",
            car_config,
            "--from",
            "start-5s",
            "--to",
            "end",
            "--reader",
            f"{key}.pub",
            "-o",
            grant,
        )
    )
    folder = car_config.parent
    as_bob = (
        "--grant",
        grant,
        "--key",
        key,
        "--store",
        folder / "store",
        "--genesis",
        folder / "genesis.cbor",
    )
    count = len(trip.read_text().splitlines())
    assert cpc.lines("verify", trip, *as_bob) == [
        {"records": count, "failures": 0, "values_unchecked": count, "left_out": 0}
    ]
    assert f"the decoded values of {count} records were not checked" in cpc.err
    assert cpc.lines("verify", trip, *as_bob, "--dbc", folder / "car.dbc") == [
        {"records": count, "failures": 0, "values_unchecked": 0, "left_out": 0}
    ]


def test_files_that_are_something_else_are_told(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    for name, data, code in [
        ("empty", b"", EXIT_NOT_PROVEN),
        ("table.csv", b"record,taken_ns\n", EXIT_USAGE),
        ("noise", b"\x00\xff" * 100, EXIT_USAGE),
        ("array", b"\x80", EXIT_NOT_PROVEN),
        ("blank", b"\n\n", EXIT_USAGE),
    ]:
        (tmp_path / name).write_bytes(data)
        cpc("verify", "-c", car_config, tmp_path / name, exit_code=code)
    cpc("verify", "-c", car_config, tmp_path, exit_code=EXIT_FAILED)
    assert "Is a directory" in cpc.err


@contextmanager
def chunk_changed(car_config: Path, seq: int, change: Callable[[bytes], bytes | None]) -> Iterator[bytes]:
    """The chunk of a record, altered or removed in the store."""
    with open_as_owner(car_config, None) as reader:
        chunk_id = reader.archive.locate(RecordName("can0", 1, seq)).chunk.chunk_id
    database = apsw.Connection(str(car_config.parent / "store" / "store.db"))
    body: bytes = database.execute("SELECT body FROM chunk WHERE chunk_id = ?", (chunk_id,)).get
    changed = change(body)
    if changed is None:
        database.execute("DELETE FROM chunk WHERE chunk_id = ?", (chunk_id,))
    else:
        database.execute("UPDATE chunk SET body = ? WHERE chunk_id = ?", (changed, chunk_id))
    try:
        yield chunk_id
    finally:
        database.execute(
            "INSERT OR REPLACE INTO chunk (chunk_id, size, body) VALUES (?, ?, ?)",
            (chunk_id, len(body), body),
        )
        database.close()


def test_a_chunk_that_is_gone_fails_its_link(cpc: Cpc, car_config: Path, trip: Path) -> None:
    with chunk_changed(car_config, 400, lambda body: None) as chunk_id:
        (proof,) = cpc.lines("verify", "-c", car_config, "can0/1/400", exit_code=EXIT_NOT_PROVEN)
        assert proof["is_proven"] is False
        assert proof["links"] == [
            {
                "name": "chunk",
                "is_ok": False,
                "detail": f"chunk {chunk_id.hex()[:16]} is not in {car_config.parent / 'store'}",
            }
        ]
        found = failures(cpc, car_config, trip)
        assert all("is not in" in failure["failure"] for failure in found)
        assert len(found) > 42


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body: body[:99] + bytes([body[99] ^ 8]) + body[100:], "bit 3 of byte 99"),
        (lambda body: None, "is not in"),
    ],
)
def test_a_damaged_block_is_looked_at_once_for_all_its_records(
    cpc: Cpc,
    car_config: Path,
    trip: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[bytes], bytes | None],
    says: str,
) -> None:
    collected = count_calls(monkeypatch)
    with chunk_changed(car_config, 400, change):
        found = failures(cpc, car_config, trip)
    assert all(says in failure["failure"] for failure in found)
    assert len(found) > 100
    assert len(collected) <= 4


def test_a_proof_needs_nobody_to_decode_it(
    cpc: Cpc, car_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (decoded,) = cpc.lines("verify", "-c", car_config, "can0/1/42")
    monkeypatch.setitem(sys.modules, "cantools", None)
    monkeypatch.setitem(sys.modules, "cantools.database", None)
    (raw,) = cpc.lines("verify", "-c", car_config, "can0/1/42")
    assert decoded["value"].pop("values")
    assert raw == decoded


def test_a_record_that_is_nowhere_fails_by_name(cpc: Cpc, car_config: Path) -> None:
    (proof,) = cpc.lines("verify", "-c", car_config, "can0/1/99999999", exit_code=EXIT_NOT_PROVEN)
    assert [link["name"] for link in proof["links"]] == ["record"]
    out = cpc("verify", "-c", car_config, "can0/1/99999999", exit_code=EXIT_NOT_PROVEN)
    assert "NOT proven: can0/1/99999999; the first link that fails: record" in out


# ----------------------------------------------------------------------- prove


def test_a_proof_is_for_its_owner_only_until_they_give_it_away(
    cpc: Cpc, car_config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "record.bin"
    out = cpc("prove", "-c", car_config, "can0/1/7", "-o", file)
    assert "It opens the whole segment" in out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    cpc("prove", "-c", car_config, "can0/1/7", "-o", file, exit_code=EXIT_USAGE)
    # Whatever it is called.
    (proof,) = cpc.lines("verify", file, "--genesis", car_config.parent / "genesis.cbor")
    assert [link["name"] for link in proof["links"]] == LINKS
    assert "reader opens it" not in out


def test_a_grant_may_be_seen_by_all(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    cpc("key", tmp_path / "bob.key")
    assert stat.S_IMODE((tmp_path / "bob.key").stat().st_mode) == 0o600
    reader = tmp_path / "bob.key.pub"
    grant = tmp_path / "bob.grant"
    cpc(*("grant", "-c", car_config, "--from", "now+1h", "--to", "now+2h", "--reader", reader, "-o", grant))
    assert stat.S_IMODE(grant.stat().st_mode) == 0o644


def test_what_would_not_hold_is_not_written(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    file = tmp_path / "record.proof"
    with chunk_changed(car_config, 42, lambda body: body[:-1]):
        (error,) = cpc.lines("prove", "-c", car_config, "can0/1/42", "-o", file, exit_code=EXIT_NOT_PROVEN)
    assert error["message"].startswith("chunk: ")
    cpc("prove", "-c", car_config, "can0/1/99999999", "-o", file, exit_code=EXIT_NOT_PROVEN)
    assert not file.exists()


def test_a_reader_can_prove_what_was_granted(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    key, grant, file = tmp_path / "bob.key", tmp_path / "bob.grant", tmp_path / "record.proof"
    cpc("key", key)
    cpc(
        *(
            "grant",
            "-c",
            car_config,
            "--from",
            "start-5s",
            "--to",
            "end",
            "--reader",
            f"{key}.pub",
            "-o",
            grant,
        )
    )
    as_bob = ("--grant", grant, "--key", key, "--store", car_config.parent / "store")
    cpc("prove", "can0/1/7", *as_bob, "-o", file)
    cpc("verify", file, "--genesis", car_config.parent / "genesis.cbor")
    cpc("prove", "can9/1/7", *as_bob, "-o", tmp_path / "no.proof", exit_code=EXIT_NOT_PROVEN)
    assert "is of another stream than can0" in cpc.err


def test_no_command_shows_a_secret(
    car_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, grant, file = tmp_path / "bob.key", tmp_path / "bob.grant", tmp_path / "record.proof"
    shown = ""
    for arguments in (
        ("key", key),
        ("grant", "-c", car_config, *EVER, "--reader", f"{key}.pub", "-o", grant),
        ("grant", "-c", car_config, *EVER, "--reader", key, "-o", tmp_path / "no.grant"),
        ("prove", "-c", car_config, "can0/1/7", "-o", file),
        ("verify", "-c", car_config, "can0/1/7"),
        ("verify", "-c", car_config, file),
        ("read", "--grant", grant, "--key", key, "--store", car_config.parent / "store", "--to", "start+6s"),
        ("read", "--grant", grant, "--key", f"{key}.pub", "--store", car_config.parent / "store"),
        ("verify", "-c", car_config, car_config.parent / "gateway.key"),
        ("verify", "-c", car_config, "no/such/thing"),
        ("inspect", key),
        ("status", "-c", car_config),
        ("status", "-c", key),
    ):
        for options in ((), ("--json",)):
            main([str(argument) for argument in (*arguments, *options)])
            shown += "".join(capsys.readouterr())
    gateway = load_gateway_key(car_config.parent / "gateway.key")
    secrets = [
        *(path.read_text().split(":")[1] for path in (key, car_config.parent / "gateway.key")),
        gateway.identity.seed.hex(),
        gateway.data_root.hex(),
        gateway.spool_key.hex(),
        Proof.decode(file.read_bytes()).segment_key.hex(),
    ]
    assert not [secret for secret in secrets if secret in shown]
    assert "can0/1/7" in shown
