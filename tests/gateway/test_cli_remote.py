"""`cpc remote`, typed as an operator would."""

import argparse
import asyncio
from pathlib import Path

import pytest

from gateway import cli_remote
from gateway.cli_output import UsageError
from gateway.remote_command import Command, CommandRefused, Reply, open_command, sign_reply
from puf.did import did_key
from puf.ed25519 import SigningKey
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.waiting import until

GATEWAY = SigningKey(bytes(range(3, 35)))
DID = did_key(GATEWAY.public)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli_remote.add(parser.add_subparsers(dest="command"))
    return parser.parse_args(["remote", *words])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "operator.key"
    assert cli_remote.run_key(parsed("key", str(path))) == 0
    return path


def test_a_key_is_made_once_and_is_the_operators_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "my.key"
    assert cli_remote.run_key(parsed("key", str(key))) == 0
    operator = did_key(cli_remote.load_operator_key(key).public)
    assert capsys.readouterr().out.splitlines() == [f"made {key}", "[remote]", f'operators = ["{operator}"]']
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="is not overwritten"):
        cli_remote.run_key(parsed("key", str(key)))
    key.chmod(0o640)
    with pytest.raises(UsageError, match="run chmod 600"):
        cli_remote.load_operator_key(key)


def test_a_damaged_key_is_refused_and_not_quoted(key: Path) -> None:
    text = key.read_text()
    key.write_text(text.replace(text[20], "0" if text[20] != "0" else "1", 1))
    with pytest.raises(UsageError) as caught:
        cli_remote.load_operator_key(key)
    assert text[19:40] not in str(caught.value)


def test_a_signed_command_is_what_was_said(key: Path, tmp_path: Path) -> None:
    config = tmp_path / "new.toml"
    config.write_text("a = 1")
    file = tmp_path / "command.cose"
    words = ("--key", str(key), "--to", DID, "--seq", "7", "set-config", f"config=@{config}", "-o", str(file))
    assert cli_remote.run_sign(parsed("sign", *words)) == 0
    operator = did_key(cli_remote.load_operator_key(key).public)
    command = open_command(file.read_bytes(), DID, (operator,))
    assert (command.seq, command.word, command.arguments) == (7, "set-config", {"config": "a = 1"})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("ping", "x=y"), "ping takes no x; it takes: nothing"),
        (("set-config",), "set-config needs config: write set-config config=@gateway.toml"),
        (("restart-stream", "can0"), "write NAME=VALUE"),
    ],
)
def test_a_wrong_command_is_refused_before_it_is_signed(key: Path, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        cli_remote.run_sign(parsed("sign", "--key", str(key), "--to", DID, *words, "-o", "x"))


def test_the_answer_is_that_of_the_gateway_to_this_command(
    key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = did_key(cli_remote.load_operator_key(key).public)

    async def story() -> int:
        async with TestBroker() as broker:

            async def answer() -> None:
                await until(lambda: bool(broker.published))
                command: Command = open_command(broker.published[0].payload, DID, (operator,))
                reply = Reply(operator, command.seq, "done", "here", {"now_ns": 5, "spool": {"records": 7}})
                broker.publish("cpc/gateway/reply", b"junk")
                broker.publish("cpc/gateway/reply", sign_reply(SigningKey(bytes(32)), reply))
                broker.publish(
                    "cpc/gateway/reply", sign_reply(GATEWAY, Reply(operator, 1, "refused", "other"))
                )
                broker.publish("cpc/gateway/reply", sign_reply(GATEWAY, reply))

            task = asyncio.ensure_future(answer())
            url = f"mqtt://127.0.0.1:{broker.port}"
            code = await cli_remote.run_send(
                parsed("send", "--key", str(key), "--to", DID, "--broker", url, "ping")
            )
            await task
            return code

    capsys.readouterr()
    assert asyncio.run(story()) == 0
    assert capsys.readouterr().out == "done: here\nspool:\n  records: 7\nnow_ns: 5\n"


def test_no_answer_says_what_that_may_mean(key: Path) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            url = f"mqtt://127.0.0.1:{broker.port}"
            words = ("--key", str(key), "--to", DID, "--broker", url, "--timeout-ms", "50", "ping")
            with pytest.raises(CommandRefused, match=r"no answer within 50 ms: .*\[remote\] operators"):
                await cli_remote.run_send(parsed("send", *words))

    asyncio.run(story())
