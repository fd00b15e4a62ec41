"""Operators command a whole gateway through a broker: signed, once, on the record."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.app import GatewayApp
from gateway.cli_gateway import CONFIG_NAME
from gateway.remote_command import (
    LIFE_MS_MAX,
    Command,
    CommandRefused,
    NotACommand,
    Reply,
    check_command,
    open_command,
    open_reply,
    sign_command,
    sign_reply,
)
from gateway.sensors.source import SYSTEM_CLOCK
from puf import cbor
from puf.cose import sign1
from puf.did import did_key
from puf.ed25519 import SigningKey
from puf.hkdf import sha256
from tests.gateway.anchored import LabNode
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.running import STREAM, FedSource, Site, fed_sources
from tests.gateway.telemetry import can_batch
from tests.gateway.waiting import until

TIMEOUT_S = 20.0
OPERATOR = SigningKey(bytes(range(1, 33)))
STRANGER = SigningKey(bytes(range(2, 34)))
GATEWAY = SigningKey(bytes(range(3, 35)))
DID = did_key(GATEWAY.public)
NOW_MS = 1_800_000_000_000
COMMAND = Command(did_key(OPERATOR.public), 7, NOW_MS + 60_000, "set-config", {"config": "x = 1"})


# The statements


def test_a_command_comes_back_as_it_was_signed() -> None:
    data = sign_command(OPERATOR, DID, COMMAND)
    assert open_command(data, DID, (COMMAND.operator,)) == COMMAND
    check_command(COMMAND, 6, NOW_MS)


def test_the_bytes_of_a_command_and_of_a_reply_are_these() -> None:
    command = sign_command(OPERATOR, DID, replace(COMMAND, word="ping", arguments={}))
    reply = sign_reply(GATEWAY, Reply(COMMAND.operator, 7, "done", "here", {"now_ns": 5}))
    assert command.hex() == (
        "d2845833a3012704582079b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664106b6370632f"
        "636f6d6d616e64a05866a661760162646f6470696e6762746f78386469643a6b65793a7a364d6b6a4a6e6861556a336a"
        "4c706f4b703139765342397161424e644a726a46374831536d436969654a673964666963736571076477697468a06875"
        "6e74696c5f6d731b000001a3185d3a60584079c3ad3ed898fd2707a836a6fc50abca50fb5998bdc95575de99794f6d3b"
        "1ff440c7314c5b581e09d926cbda39114a04cc891b71bde982e7975bf7c625523f0a"
    )
    assert reply.hex() == (
        "d2845831a30127045820481ede772da15785c9e59a086201b8c3f9c307129e3fc6d7f34aa4dfed5814e510696370632f"
        "7265706c79a0586ca661760162746f78386469643a6b65793a7a364d6b6e654d6b5a717771526955356d4a7a5347336b"
        "44777a743950384335394e344e475466424c665347453763376373657107647465787464686572656576616c7565a166"
        "6e6f775f6e7305676f7574636f6d6564646f6e655840657372ac3bdffb8b1acb95856e1f318db76247f90211391e1afb"
        "c909cb6c02d77c1da3d4e97fd0ed043001ed321b6078a423ba09809e7d6a6baebe67e5617706"
    )


def test_a_command_of_a_stranger_or_for_another_gateway_or_of_another_kind_is_none() -> None:
    operators = (COMMAND.operator,)
    for data, why in (
        (sign_command(STRANGER, DID, COMMAND), "is no operator of this gateway"),
        (sign_command(OPERATOR, did_key(STRANGER.public), COMMAND), "not for this gateway"),
        (sign1("cpc/tx", b"", OPERATOR), "this is a statement of type 'cpc/tx'"),
        (sign1("cpc/command", cbor.encode({"v": 2}), OPERATOR), "another layout"),
        (sign1("cpc/command", b"\xff", OPERATOR), "no signed command"),
        (b"", "no signed command"),
        (sign_command(OPERATOR, DID, COMMAND)[:-1] + b"\x00", "no signed command"),
    ):
        with pytest.raises(NotACommand, match=why):
            open_command(data, DID, operators)


@pytest.mark.parametrize(
    ("command", "last_seq", "now_ms", "why"),
    [
        (COMMAND, 7, NOW_MS, "comes again, or after a later one: the last was 7"),
        (COMMAND, 8, NOW_MS, "comes again"),
        (COMMAND, 6, NOW_MS + 60_000, "is void since 0 ms"),
        (replace(COMMAND, until_ms=NOW_MS + LIFE_MS_MAX + 1), 6, NOW_MS, "good for more than"),
        (replace(COMMAND, word="rm"), 6, NOW_MS, "'rm' is no command; there are: ping, status"),
        (replace(COMMAND, arguments={}), 6, NOW_MS, "set-config needs config"),
        (replace(COMMAND, arguments={"x": "y"}), 6, NOW_MS, "takes no 'x'; it takes: config, replaces"),
        (replace(COMMAND, word="ping"), 6, NOW_MS, "ping takes no 'config'; it takes: nothing"),
    ],
)
def test_a_command_that_comes_late_or_again_or_wrong_is_refused(
    command: Command, last_seq: int, now_ms: int, why: str
) -> None:
    with pytest.raises(CommandRefused, match=why):
        check_command(command, last_seq, now_ms)


def test_a_reply_is_believed_only_from_the_gateway() -> None:
    reply = Reply(COMMAND.operator, 7, "done", "here", {"now_ns": 5})
    assert open_reply(sign_reply(GATEWAY, reply), DID) == replace(reply, gateway=DID)
    with pytest.raises(CommandRefused, match="not by the gateway"):
        open_reply(sign_reply(STRANGER, reply), DID)
    with pytest.raises(CommandRefused, match="no signed reply"):
        open_reply(b"junk", DID)


# The whole way


@pytest.fixture
def sources() -> Iterator[dict[str, FedSource]]:
    with fed_sources() as opened:
        yield opened


class Lab:
    """A gateway that runs, the broker it hears, and an operator at the other end."""

    def __init__(self, site: Site, broker: TestBroker, app: GatewayApp) -> None:
        self.site = site
        self.broker = broker
        self.app = app
        self.did = did_key(site.key.identity.public)
        self._seq = 0

    def send(self, word: str, seq: int | None, key: SigningKey, arguments: dict[str, str]) -> None:
        self._seq = self._seq + 1 if seq is None else seq
        until_ms = SYSTEM_CLOCK.now_ns() // 1_000_000 + 60_000
        command = Command(did_key(key.public), self._seq, until_ms, word, arguments)
        self.broker.publish("cpc/gateway/command", sign_command(key, self.did, command))

    @property
    def replies(self) -> list[Reply]:
        told = [each for each in self.broker.published if each.topic == "cpc/gateway/reply"]
        return [open_reply(each.payload, self.did) for each in told]

    async def ask(self, word: str, seq: int | None = None, **arguments: str) -> Reply:
        count = len(self.replies)
        self.send(word, seq, OPERATOR, arguments)
        await until(lambda: len(self.replies) > count)
        return self.replies[-1]


def configure(site: Site, broker: TestBroker, *streams: str, more: str = "") -> str:
    site.write_config(*streams)
    text = (site.folder / CONFIG_NAME).read_text()
    text += f'[uplink]\nurl = "mqtt://127.0.0.1:{broker.port}"\nbatch_ms = 20\nwindow = 8\n'
    text += f'[remote]\noperators = ["{did_key(OPERATOR.public)}"]\n{more}'
    (site.folder / CONFIG_NAME).write_text(text)
    return text


@contextlib.asynccontextmanager
async def lab(folder: Path, more: str = "") -> AsyncIterator[Lab]:
    async with LabNode(folder.parent / "chain") as node, TestBroker() as broker:
        site = Site(folder, node.url, node.genesis)
        configure(site, broker, "can0", "can1", more=more)
        async with site.app() as app:
            task = asyncio.ensure_future(app.run())
            await until(lambda: any(session.filters for session in broker.sessions.values()))
            yield Lab(site, broker, app)
            app.stop()
            await task


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await story()

    asyncio.run(limited())


def audited(site: Site) -> list[tuple[str, str]]:
    return [(record.value["command"], record.value["outcome"]) for record in site.records("audit")]


def test_a_command_is_carried_out_once_answered_and_anchored(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site") as it:
            reply = await it.ask("ping", seq=5)
            assert (reply.seq, reply.outcome, reply.text) == (5, "done", "here")
            again = await it.ask("ping", seq=5)
            assert (again.outcome, again.text) == (
                "refused",
                "command 5 comes again, or after a later one: the last was 5",
            )
            sources["can0"].feed(can_batch(30))
            await until(lambda: len(sources["can0"].acknowledged) == 1)
            status = (await it.ask("status", seq=6)).value
            assert status["streams"]["can0"]["records"] == 30
            assert status["uplink"]["is_connected"] is True
            site = it.site
        assert audited(site) == [
            ("ping", "begun"),
            ("ping", "done"),
            ("ping", "refused"),
            ("status", "begun"),
            ("status", "done"),
        ]
        first = site.records("audit")[0].value
        assert (first["event"], first["operator"], first["seq"]) == ("command", did_key(OPERATOR.public), 5)

    run(story)


def test_strangers_get_no_answer_and_one_record_for_many(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site") as it:
            for _ in range(5):
                it.send("ping", None, STRANGER, {})
                it.broker.publish("cpc/gateway/command", b"junk")
            reply = await it.ask("ping")
            assert reply.outcome == "done"
            assert len(it.replies) == 1
            site = it.site
        values = [record.value for record in site.records("audit")]
        assert [value["event"] for value in values] == ["not a command", "command", "command"]
        assert values[0]["count"] == 1

    run(story)


def test_a_new_configuration_changes_streams_and_the_others_lose_nothing(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site") as it:
            steady = sources["can0"]
            steady.feed(can_batch(10))
            sources["can1"].feed(can_batch(20))
            text = configure(it.site, it.broker, "can0", "can2").replace("x", "x")
            text = text.replace("[uplink]", STREAM.format(name="can3", upload_segments=2) + "\n[uplink]")
            steady.feed(can_batch(10))
            reply = await it.ask("set-config", config=text)
            assert (reply.outcome, reply.text) == ("done", "streams: added can2, can3; removed can1")
            assert (it.site.folder / CONFIG_NAME).read_text() == text
            assert sources["can0"] is steady
            steady.feed(can_batch(10))
            sources["can2"].feed(can_batch(5))
            sources["can3"].feed(can_batch(6))
            await until(lambda: len(sources["can2"].acknowledged) + len(sources["can3"].acknowledged) == 2)
            await until(lambda: len(steady.acknowledged) == 3)
            site = it.site
        assert [len(site.records(name)) for name in ("can0", "can2", "can3")] == [30, 5, 6]
        assert [record.name.seq for record in site.records("can0")] == list(range(30))
        configure(site, it.broker, "can1")
        assert len(site.records("can1")) == 20

    run(story)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text + "what = 1\n", "gateway.toml:"),
        (lambda text: "[[", "gateway.toml:1"),
        (
            lambda text: text.replace("[chain]", '[chain]\ngenesis = "other.cbor"'),
            "cannot change while the gateway runs: [chain] genesis: another chain is another gateway.",
        ),
        (lambda text: text.replace(did_key(OPERATOR.public), did_key(STRANGER.public)), "lock yourself out"),
        (lambda text: text.replace('"fed:can1"', '"replay:nowhere.trc"'), "nowhere.trc"),
    ],
)
def test_a_bad_configuration_is_refused_with_the_reason_and_the_old_one_kept(
    tmp_path: Path, sources: dict[str, FedSource], change: Callable[[str], str], why: str
) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site") as it:
            old = (it.site.folder / CONFIG_NAME).read_text()
            sources["can0"].feed(can_batch(4))
            reply = await it.ask("set-config", config=change(old))
            assert reply.outcome in ("refused", "failed")
            assert why in reply.text
            assert (it.site.folder / CONFIG_NAME).read_text() == old
            assert [stream.config.name for stream in it.app.streams] == ["can0", "can1", "audit"]
            sources["can0"].feed(can_batch(4))
            sources["can1"].feed(can_batch(3))
            await until(lambda: len(sources["can0"].acknowledged) == 2)
            await until(lambda: len(sources["can1"].acknowledged) == 1)
            site = it.site
        assert [record.name.seq for record in site.records("can0")] == list(range(8))

    run(story)


def test_a_configuration_that_replaces_another_than_was_looked_at_is_refused(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site") as it:
            seen = (await it.ask("get-config")).value
            assert seen["sha256"] == sha256(seen["config"].encode()).hex()
            reply = await it.ask("set-config", config=seen["config"], replaces="00")
            assert (reply.outcome, "is another one by now" in reply.text) == ("refused", True)
            reply = await it.ask("set-config", config=seen["config"] + "# note\n", replaces=seen["sha256"])
            assert (reply.outcome, reply.text) == ("done", "no stream has changed")
            assert (it.site.folder / "gateway.toml.old").read_text() == seen["config"]

    run(story)


def test_an_operator_who_may_not_configure_may_look(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site", more="may_configure = false\n") as it:
            text = (await it.ask("get-config")).value["config"]
            reply = await it.ask("set-config", config=text)
            assert (reply.outcome, reply.text) == ("refused", "remote.may_configure is false")

    run(story)


def test_a_stream_is_restarted_with_a_gap(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with lab(tmp_path / "site") as it:
            before = sources["can0"]
            before.feed(can_batch(3))
            assert (await it.ask("restart-stream", stream="can0")).outcome == "done"
            assert sources["can0"] is not before
            sources["can0"].feed(can_batch(2))
            await until(lambda: len(sources["can0"].acknowledged) == 1)
            reply = await it.ask("restart-stream", stream="nothing")
            assert (reply.outcome, reply.text.split(";")[0]) == ("refused", "no stream is called 'nothing'")
            site = it.site
        values: list[Any] = [record.value for record in site.records("can0")]
        assert len(values) == 6
        assert values[3].reason == "the source was opened anew"

    run(story)
