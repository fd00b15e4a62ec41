"""The command line as a user types it: a chain, a gateway, its records, their proofs, and wrong input."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from gateway import cli_gateway
from gateway.cli import COMMANDS, main, parser
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_USAGE, UsageError
from gateway.crypto.key_file import create_gateway_key, load_gateway_key
from gateway.errors import GatewayBusy
from puf.did import did_key
from puf.ed25519 import SigningKey
from tests.gateway.commands import LINKS, RATE_HZ, SECONDS, Cpc, line_with, started

TO_EVE = ("--reader", "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc", "-o", "NEW")
TO_NOBODY = ("--reader", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", "-o", "NEW")


def commands_of(made: argparse.ArgumentParser) -> list[str]:
    (action,) = [each for each in made._actions if isinstance(each, argparse._SubParsersAction)]
    return list(action.choices)


def test_only_what_belongs_to_the_command_is_loaded_and_help_shows_all() -> None:
    for commands in COMMANDS.values():
        for command in commands:
            assert commands_of(parser(command)) == list(commands)
    everything = [command for commands in COMMANDS.values() for command in commands]
    assert commands_of(parser()) == commands_of(parser("no-such")) == everything


def test_status_counts_what_was_anchored(cpc: Cpc, car_config: Path) -> None:
    (status,) = cpc.lines("status", "-c", car_config)
    assert status["is_running"] is False
    assert status["spool"]["records"] == status["spool"]["uploads"] == status["spool"]["segments"] == 0
    stream = status["streams"]["can0"]
    assert stream["anchored_uploads"] == stream["uploads"] >= 1


def test_read_gives_every_record_in_order_and_decoded(cpc: Cpc, car_config: Path) -> None:
    records = cpc.lines("read", "-c", car_config)
    assert [record["record"] for record in records] == [f"can0/1/{seq}" for seq in range(len(records))]
    # The simulated car keeps the periods of its messages, so its rate is near what was asked.
    assert 0.8 * SECONDS * RATE_HZ <= len(records) <= 1.2 * SECONDS * RATE_HZ
    assert all(record["values"] for record in records)


def test_read_keeps_to_the_time_asked_for(cpc: Cpc, car_config: Path) -> None:
    everything = cpc.lines("read", "-c", car_config)
    first_ns = everything[0]["taken_ns"]
    second = cpc.lines("read", "-c", car_config, "--from", "start+1s", "--to", "start+2s")
    assert second == [
        record for record in everything if 1_000_000_000 <= record["taken_ns"] - first_ns < 2_000_000_000
    ]


def test_verify_proves_a_record_link_by_link(cpc: Cpc, car_config: Path) -> None:
    (proof,) = cpc.lines("verify", "-c", car_config, "can0/1/42")
    assert proof["is_proven"] is True
    assert [link["name"] for link in proof["links"]] == LINKS
    assert proof["value"]["record"] == "can0/1/42"


def test_an_export_verifies_and_a_changed_line_is_named(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    file = tmp_path / "trip.jsonl"
    cpc("export", "-c", car_config, "--to", "start+1s", "-o", file)
    count = len(file.read_text().splitlines())
    assert cpc.lines("verify", "-c", car_config, file) == [
        {"records": count, "failures": 0, "values_unchecked": 0, "left_out": 0}
    ]
    lines = file.read_text().splitlines()
    changed = json.loads(lines[10])
    changed["data"] = (
        "00" + changed["data"][2:] if changed["data"][:2] != "00" else "01" + changed["data"][2:]
    )
    lines[10] = json.dumps(changed)
    file.write_text("\n".join(lines) + "\n")
    failure, summary = cpc.lines("verify", "-c", car_config, file, exit_code=EXIT_NOT_PROVEN)
    assert (failure["line"], failure["record"]) == (11, "can0/1/10")
    assert failure["failure"].startswith("data is ")
    assert summary == {"records": count, "failures": 1, "values_unchecked": 0, "left_out": 0}


def test_what_a_file_leaves_out_between_its_records_is_counted(
    cpc: Cpc, car_config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "trip.jsonl"
    cpc("export", "-c", car_config, "--to", "start+1s", "-o", file)
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:5] + lines[12:20] + lines[21:]) + "\n")
    (summary,) = cpc.lines("verify", "-c", car_config, file)
    assert (summary["failures"], summary["left_out"]) == (0, 8)
    assert "8 records between those in the file are not in it" in cpc.err


def test_a_store_of_another_key_is_not_taken_for_an_empty_one(
    cpc: Cpc, car_config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "site"
    other.mkdir()
    store = json.dumps(str(car_config.parent / "store"))
    text = car_config.read_text().replace('path = "store"', f"path = {store}")
    (other / "gateway.toml").write_text(text)
    create_gateway_key(other / "gateway.key")
    for command in ("read", "export"):
        cpc(command, "-c", other / "gateway.toml", exit_code=EXIT_FAILED)
        assert "put the right key file back" in cpc.err


def test_csv_has_a_row_for_each_record(cpc: Cpc, car_config: Path) -> None:
    rows = cpc("export", "-c", car_config, "--format", "csv", "--to", "start+1s").splitlines()
    assert rows[0] == "record,taken_ns,time,id,flags,data,gap,values"
    assert rows[1].startswith("can0/1/0,")
    assert len(rows) == 1 + len(cpc.lines("read", "-c", car_config, "--to", "start+1s"))


def test_a_grant_opens_its_whole_segments_and_nothing_else(
    cpc: Cpc, car_config: Path, tmp_path: Path
) -> None:
    key, grant = tmp_path / "bob.key", tmp_path / "bob.grant"
    (made,) = cpc.lines("key", key)
    assert made["public"].startswith("did:key:z6LS")
    (granted,) = cpc.lines(
        *("grant", "-c", car_config, "--from", "start+1s", "--to", "start+15s"),
        *("--reader", f"{key}.pub", "-o", grant),
    )
    assert granted["segments"] >= 1
    everything = cpc.lines("read", "-c", car_config)
    records = cpc.lines("read", "--grant", grant, "--key", key, "--store", car_config.parent / "store")
    inside = [
        record["record"]
        for record in everything
        if granted["from_ns"] <= record["taken_ns"] < granted["to_ns"]
    ]
    assert 0 < len(inside) < len(everything)
    assert [record["record"] for record in records] == inside
    assert f"{len(everything) - len(inside)} records of this time lie in segments" in cpc.err


def test_a_grant_from_start_to_end_is_of_what_is_stored_and_not_of_all_time(
    cpc: Cpc, car_config: Path, tmp_path: Path
) -> None:
    cpc("key", tmp_path / "bob.key")
    everything = cpc.lines("read", "-c", car_config)
    first_ns, last_ns = everything[0]["taken_ns"], everything[-1]["taken_ns"]
    for number, (from_, to) in enumerate([("start", "end"), ("start", "start+15s"), ("end-15s", "end")]):
        (granted,) = cpc.lines(
            *("grant", "-c", car_config, "--from", from_, "--to", to),
            *("--reader", tmp_path / "bob.key.pub", "-o", tmp_path / f"{number}.grant"),
        )
        assert first_ns <= granted["from_ns"] < granted["to_ns"] <= last_ns + 1


def test_a_grant_is_of_no_use_to_another_reader(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    cpc("key", tmp_path / "bob.key")
    cpc("key", tmp_path / "eve.key")
    reader = tmp_path / "bob.key.pub"
    grant = tmp_path / "g"
    cpc("grant", "-c", car_config, "--from", "start", "--to", "end", "--reader", reader, "-o", grant)
    store = car_config.parent / "store"
    cpc("read", "--grant", grant, "--key", tmp_path / "eve.key", "--store", store, exit_code=EXIT_FAILED)
    assert "the grant is for reader key" in cpc.err


def test_a_proof_file_needs_nothing_but_the_genesis(
    cpc: Cpc, car_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "record.proof"
    cpc("prove", "-c", car_config, "can0/1/7", "-o", file)
    genesis = tmp_path / "genesis.cbor"
    genesis.write_bytes((car_config.parent / "genesis.cbor").read_bytes())
    monkeypatch.chdir(tmp_path)
    (proof,) = cpc.lines("verify", file, "--genesis", genesis)
    assert proof["is_proven"] is True
    # Whose it is, nobody has said: it tells.
    owner = did_key(load_gateway_key(car_config.parent / "gateway.key").identity.public)
    assert f"recorded by {owner}" in cpc.err
    (proof,) = cpc.lines("verify", file, "--genesis", genesis, "--owner", owner)
    assert proof["is_proven"] is True
    stranger = did_key(SigningKey(bytes(32)).public)
    (proof,) = cpc.lines(
        *("verify", file, "--genesis", genesis, "--owner", stranger), exit_code=EXIT_NOT_PROVEN
    )
    assert [(link["name"], link["is_ok"]) for link in proof["links"]] == [("gateway", False)]
    assert owner in proof["links"][0]["detail"]
    cpc("verify", file, exit_code=EXIT_USAGE)
    assert "name the chain to trust: --genesis" in cpc.err


def test_a_flipped_bit_in_the_store_is_named(cpc: Cpc, car_config: Path) -> None:
    database = apsw.Connection(str(car_config.parent / "store" / "store.db"))
    # A sealed block is a CBOR array of eight, a manifest one of seven.
    chunk_id, body = database.execute(
        "SELECT chunk_id, body FROM chunk WHERE substr(body, 1, 1) = x'88' AND length(body) < 9000 LIMIT 1"
    ).fetchone() or (b"", b"")
    damaged = bytearray(body)
    damaged[200] ^= 1 << 5
    database.execute("UPDATE chunk SET body = ? WHERE chunk_id = ?", (bytes(damaged), chunk_id))
    try:
        out = cpc("read", "-c", car_config, exit_code=EXIT_NOT_PROVEN)
        assert chunk_id.hex()[:16] in cpc.err
        shown = {line.split()[1] for line in out.splitlines()}
        seq = next(seq for seq in range(10_000) if f"can0/1/{seq}" not in shown)
        (proof,) = cpc.lines("verify", "-c", car_config, f"can0/1/{seq}", exit_code=EXIT_NOT_PROVEN)
        assert proof["is_proven"] is False
        assert proof["links"][-1]["name"] == "chunk"
        assert "bit 5 of byte 200" in proof["links"][-1]["detail"]
    finally:
        database.execute("UPDATE chunk SET body = ? WHERE chunk_id = ?", (body, chunk_id))
        database.close()


def test_a_chain_of_strangers_is_not_believed(cpc: Cpc, car_config: Path, tmp_path: Path) -> None:
    with started("node", "dev", "--data", tmp_path / "other", "--port", "0") as process:
        assert process.stdout is not None
        line_with(process.stdout, "listening")
    genesis = tmp_path / "other" / "genesis.cbor"
    (proof,) = cpc.lines(
        "verify", "-c", car_config, "can0/1/1", "--genesis", genesis, exit_code=EXIT_NOT_PROVEN
    )
    assert proof["links"][-1]["name"] == "roots in the transaction"
    assert "another chain" in proof["links"][-1]["detail"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("verify", "-c", "CONFIG", "nonsense"), EXIT_USAGE, "write stream/boot/seq"),
        (("verify", "-c", "CONFIG", "can9/1/1"), EXIT_USAGE, "no stream is called 'can9'"),
        (("read", "-c", "CONFIG", "--from", "yesterday"), EXIT_USAGE, "is not a moment"),
        (("read", "-c", "CONFIG", "--from", "end", "--to", "start"), EXIT_USAGE, "--from is not before --to"),
        (("read", "--grant", "x"), EXIT_USAGE, "--grant needs --key"),
        (("run", "-c", "nowhere.toml"), EXIT_USAGE, "nowhere.toml"),
        (("init", "SITE"), EXIT_USAGE, "exists already"),
        (("init", "NEW", "--source", "replay:none.trc"), EXIT_USAGE, "there is no file none.trc"),
        (("init", "NEW", "--source", "canbus:0"), EXIT_USAGE, "unknown kind 'canbus'"),
        (("init", "NEW", "--node", "http://127.0.0.1:1", "--wait-ms", "0"), EXIT_FAILED, "127.0.0.1:1"),
        (("init", "NEW", "--node", "nonsense", "--wait-ms", "0"), EXIT_USAGE, "node_url"),
        (("init", "NEW", "--name", "My Gateway"), EXIT_USAGE, "these options make no configuration"),
        (("init", "NEW", "--source", "sim:car?speed=max", "--dbc", "no.dbc"), EXIT_USAGE, "no.dbc"),
        (("grant", "-c", "CONFIG", "--from", "start", "--to", "start+1ms", *TO_EVE), EXIT_USAGE, "at least"),
        (("grant", "-c", "CONFIG", "--from", "end", "--to", "start", *TO_EVE), EXIT_USAGE, "is not before"),
        (
            ("grant", "-c", "CONFIG", "--from", "start", "--to", "end", *TO_NOBODY),
            EXIT_FAILED,
            "did:key:z6LS",
        ),
        (("verify", "-c", "CONFIG", "CONFIG"), EXIT_USAGE, "is neither a proof nor records one a line"),
        (("verify", "-c", "CONFIG", "gone.proof"), EXIT_USAGE, "and there is no such file"),
        (("verify", "--grant", "g", "--key", "k", "--store", "s", "can0/1/1"), EXIT_USAGE, "--genesis"),
        (("inspect", "none.trc"), EXIT_FAILED, "none.trc"),
    ],
)
def test_wrong_input_says_what_to_do(
    cpc: Cpc, car_config: Path, tmp_path: Path, arguments: tuple[str, ...], exit_code: int, says: str
) -> None:
    places = {"CONFIG": str(car_config), "SITE": str(car_config.parent), "NEW": str(tmp_path / "new")}
    cpc(*(places.get(argument, argument) for argument in arguments), exit_code=exit_code)
    assert says in cpc.err
    assert not (tmp_path / "new").exists()


def raising(error: BaseException) -> Callable[[object], int]:
    def run(args: object) -> int:
        raise error

    return run


def test_errors_of_several_tasks_are_told_by_the_first(cpc: Cpc, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ExceptionGroup("inner", [UsageError("the first"), GatewayBusy("the second")])
    monkeypatch.setattr(cli_gateway, "run_status", raising(ExceptionGroup("outer", [inner])))
    cpc("status", exit_code=EXIT_USAGE)
    assert cpc.err == "cpc status: the first\n"


@pytest.mark.parametrize(
    "bug",
    [ZeroDivisionError(), ExceptionGroup("tasks", [GatewayBusy("it runs"), ZeroDivisionError()])],
    ids=["alone", "beside an error"],
)
def test_a_bug_is_never_taken_for_an_error(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    monkeypatch.setattr(cli_gateway, "run_status", raising(bug))
    with pytest.raises(type(bug)) as caught:
        main(["status"])
    assert caught.value is bug


def test_an_error_of_the_system_is_a_message_unless_somebody_debugs(
    cpc: Cpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_gateway, "run_status", raising(OSError(5, "Input/output error")))
    (error,) = cpc.lines("status", exit_code=EXIT_FAILED)
    assert error == {"error": "OSError", "message": "[Errno 5] Input/output error"}
    monkeypatch.setenv("CPC_DEBUG", "1")
    with pytest.raises(OSError, match="Input/output error"):
        main(["status"])


def test_every_command_shows_examples_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("demo", "init", "run", "status", "inspect", "tail", "read", "export", "key", "grant"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"  cpc {command}" in capsys.readouterr().out
