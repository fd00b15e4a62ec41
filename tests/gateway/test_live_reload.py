"""Another configuration while the gateway runs: nothing is lost, and what cannot be used changes nothing."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gateway.app import GatewayApp
from gateway.cli_gateway import CONFIG_NAME
from gateway.config import StreamConfig, load
from gateway.disk import DiskFull
from gateway.errors import GatewayError, SpoolError
from gateway.ingest import StreamRuntime
from gateway.live_reload import OPENED_ANEW, LiveReload
from gateway.sensors.source import Gap, SourceError
from gateway.uplink_handover import Handover
from obd.can_frame import CanFrame
from puf.did import did_key
from tests.gateway.anchored import LabNode
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.running import FedSource, Site, fed_sources
from tests.gateway.telemetry import can_batch
from tests.gateway.test_app import running
from tests.gateway.test_remote import OPERATOR, Lab
from tests.gateway.waiting import until

TIMEOUT_S = 20.0


@pytest.fixture
def sources() -> Iterator[dict[str, FedSource]]:
    with fed_sources() as opened:
        yield opened


class Bench:
    """A gateway that runs, its file, a broker and a node."""

    def __init__(self, site: Site, app: GatewayApp, node: LabNode, broker: TestBroker) -> None:
        self.site = site
        self.app = app
        self.node = node
        self.broker = broker

    @property
    def text(self) -> str:
        return (self.site.folder / CONFIG_NAME).read_text()

    async def reload(self, *changes: tuple[str, str]) -> str:
        """Replaces texts in the file, and goes on with it."""
        old = text = self.text
        for before, after in changes:
            assert before in text
            text = text.replace(before, after, 1)
        path = self.site.folder / CONFIG_NAME
        path.write_text(text)
        try:
            return await self.app.reload(load(path))
        except (GatewayError, SourceError, DiskFull):
            path.write_text(old)
            raise

    async def refused(self, *changes: tuple[str, str]) -> str:
        """The reason; everything must be as before then."""
        config, streams = self.app.config, [each.pipeline for each in self.app.streams]
        with pytest.raises((GatewayError, SourceError, DiskFull)) as caught:
            await self.reload(*changes)
        assert self.app.config is config
        assert [each.pipeline for each in self.app.streams] == streams
        return str(caught.value)

    def uplink(self, **keys: str | int) -> str:
        lines = {
            "url": f"mqtt://127.0.0.1:{self.broker.port}",
            "batch_ms": 10,
            "batch_records_max": 20,
        } | keys
        return "[uplink]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


@contextlib.asynccontextmanager
async def bench(folder: Path, *, uplink: bool = False) -> AsyncIterator[Bench]:
    async with LabNode(folder / "chain") as node, TestBroker() as broker:
        site = Site(folder / "site", node.url, node.genesis, ("can0", "can1"))
        it = Bench(site, site.app(), node, broker)
        if uplink:
            (site.folder / CONFIG_NAME).write_text(it.text + it.uplink())
            it.app = site.app()
        async with running(it.app):
            yield it
            it.app.stop()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await story()

    asyncio.run(limited())


async def feed(source: FedSource, count: int) -> None:
    """Returns when the gateway has acknowledged so many frames more."""
    done = len(source.acknowledged)
    source.feed(can_batch(count))
    await until(lambda: len(source.acknowledged) > done)


def sent(*brokers: TestBroker, stream: str = "can0") -> list[tuple[int, int]]:
    """(boot, number) of every record that a broker has, once each by key."""
    found: dict[str, list[tuple[int, int]]] = {}
    for broker in brokers:
        for publish in broker.published:
            message = json.loads(publish.payload)
            if message.get("stream") == stream:
                numbers = range(message["seq"], message["seq"] + len(message["records"]))
                found[message["key"]] = [(message["boot"], number) for number in numbers]
    return sorted(name for names in found.values() for name in names)


# --------------------------------------------------------------------- streams


def test_periods_change_between_two_records(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            source = sources["can0"]
            await feed(source, 30)
            longer = ("block_ms = 1000\nsegment_blocks = 5", "block_ms = 500\nsegment_blocks = 4")
            assert await it.reload(longer) == "streams: changed can0"
            await feed(source, 20)
            # Shorter blocks in slots of the same length: the same stream goes on.
            await it.reload(("block_ms = 500\nsegment_blocks = 4", "block_ms = 250\nsegment_blocks = 8"))
            await feed(source, 10)
            assert (it.app.streams[0].pipeline.slot_ms, it.app.streams[0].pipeline.row.block_ms) == (
                2_000,
                250,
            )
            old = ("block_ms = 250\nsegment_blocks = 8", "block_ms = 1000\nsegment_blocks = 5")
            await it.reload(old)
            await feed(source, 5)
            assert sources["can0"] is source
            site = it.site
            text = it.text
        assert [record.name.seq for record in site.records()] == [*range(30), *range(60, 65)]
        (site.folder / CONFIG_NAME).write_text(text.replace("segment_blocks = 5", "segment_blocks = 2", 1))
        assert [record.name.seq for record in site.records()] == list(range(30, 60))

    run(story)


def test_records_that_a_crash_leaves_behind_a_change_of_periods_are_whole(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with LabNode(tmp_path / "chain") as node:
            site = Site(tmp_path / "site", node.url, node.genesis)
            path = site.folder / CONFIG_NAME
            async with site.app() as app:
                task = asyncio.create_task(app.run())
                await feed(sources["can0"], 30)
                path.write_text(path.read_text().replace("block_ms = 1000", "block_ms = 2000"))
                await app.reload(load(path))
                await feed(sources["can0"], 20)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            async with running(site.app()):
                sources["can0"].feed(None)
            records = site.records()
            assert [record.name.seq for record in records] == list(range(30, 50))
            assert not any(isinstance(record.value, Gap) for record in records)

    run(story)


def test_a_stream_that_comes_back_goes_on_with_its_numbers(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            whole = it.text
            head, can0, can1 = whole.split("[[stream]]")
            await feed(sources["can1"], 7)
            assert await it.reload((whole, f"{head}[[stream]]{can0}")) == "streams: removed can1"
            longer = can1.replace("block_ms = 1000", "block_ms = 2000")
            assert (
                await it.reload((it.text, f"{head}[[stream]]{can0}[[stream]]{longer}"))
                == "streams: added can1"
            )
            await feed(sources["can1"], 3)
            await it.reload((it.text, f"{head}[[stream]]{can0}"))
            await it.reload((it.text, whole))
            await feed(sources["can1"], 2)
            site = it.site
        assert [record.name.seq for record in site.records("can1")] == [*range(7), 10, 11]

    run(story)


def test_another_loss_policy_opens_the_source_anew(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            before = sources["can0"]
            await feed(before, 3)
            await it.reload(('source = "fed:can0"', 'source = "fed:can0"\noverrun = "drop-oldest"'))
            assert sources["can0"] is not before
            assert sources["can0"].overrun == "drop-oldest"
            await feed(sources["can0"], 2)
            site = it.site
        values = [record.value for record in site.records()]
        assert [isinstance(value, Gap) for value in values] == [False] * 3 + [True] + [False] * 2
        assert values[3].reason == OPENED_ANEW

    run(story)


def test_when_one_stream_cannot_be_changed_none_is(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            source = sources["can0"]
            await feed(source, 3)
            app = it.app
            with pytest.raises(SourceError, match="nowhere"):
                await it.reload(
                    ("block_ms = 1000", "block_ms = 2000"), ('"fed:can1"', '"replay:nowhere.trc"')
                )
            assert [each.config for each in app.streams] == list(app.config.streams)
            assert app.streams[0].pipeline.slot_ms == 5_000
            await feed(source, 2)
            await feed(sources["can1"], 1)
            site = it.site
        assert [record.name.seq for record in site.records()] == list(range(5))

    run(story)


def test_a_stream_that_is_changed_by_half_is_changed_back(
    tmp_path: Path, sources: dict[str, FedSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            first = sources["can0"]

            def full(reload: LiveReload, stream: StreamRuntime, new: StreamConfig) -> None:
                raise SpoolError("no room")

            monkeypatch.setattr(LiveReload, "_replace_pipeline", full)
            await it.refused(
                ('source = "fed:can0"', 'source = "fed:can0"\noverrun = "drop-oldest"'),
                ("block_ms = 1000", "block_ms = 2000"),
            )
            assert sources["can0"] is not first
            assert sources["can0"].overrun == "drop-newest"
            assert it.app.streams[0].config == it.app.config.streams[0]
            await feed(sources["can0"], 2)

    run(story)


# --------------------------------------------------------------------- sections


def test_limits_node_and_log_level_change(
    tmp_path: Path, sources: dict[str, FedSource], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            await feed(sources["can0"], 3)
            said = await it.reload(
                ("size_max_mib = 64", "size_max_mib = 65"),
                ("disk_free_min_mib = 0", "disk_free_min_mib = 1"),
                (f'node_url = "{it.node.url}"', f'node_url = "{it.node.url}?b"\ntimeout_ms = 9000'),
                ("[spool]", '[gateway]\nlog_level = "error"\n[store]\nfile_size_min_kib = 1\n[spool]'),
            )
            assert said == (
                "no stream has changed; other keys: gateway.log_level, spool.size_max_mib, "
                "spool.disk_free_min_mib, store.file_size_min_kib, chain.node_url, chain.timeout_ms"
            )
            assert (it.app.spool._size_max_bytes, it.app.spool._free_min_bytes) == (65 << 20, 1 << 20)
            assert it.app.store.file_size_min == 1_024
            assert logging.getLogger("cpc").getEffectiveLevel() == logging.ERROR
            await feed(sources["can0"], 2)
            site = it.site
            await it.reload(('log_level = "error"', 'log_level = "info"'))
        assert it.app.uploader._anchorer._client.url.endswith("?b")
        assert len(site.records()) == 5

    run(story)


def test_a_node_of_another_chain_is_refused_and_one_that_is_away_is_not(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it, LabNode(tmp_path / "other") as other:
            why = await it.refused((it.node.url, other.url))
            assert "[chain] is not taken: node" in why
            assert "is of another chain" in why
            said = await it.reload((it.node.url, "http://127.0.0.1:9/"))
            assert "other keys: chain.node_url; the node is not of use now: " in said
            await feed(sources["can0"], 4)
            await it.reload(("http://127.0.0.1:9/", it.node.url))
            site = it.site
        assert len(site.records()) == 4

    run(story)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("[spool]", '[gateway]\nname = "b"\n[spool]'), "[gateway] name: receivers know the gateway by it"),
        (("[spool]", '[spool]\npath = "other"'), "[spool] path: what waits is there; stop the gateway, move"),
        (("[spool]", '[store]\npath = "other"\n[spool]'), "[store] path: what was stored is there; stop"),
        (("[chain]", '[chain]\ngenesis = "other"'), "[chain] genesis: another chain is another gateway"),
    ],
)
def test_what_cannot_change_is_named_with_what_to_do(
    tmp_path: Path, sources: dict[str, FedSource], change: tuple[str, str], why: str
) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            said = await it.refused(change)
            assert why in said
            assert said.endswith("write it into the configuration file and restart the gateway")

    run(story)


# ----------------------------------------------------------------------- uplink


def test_topic_format_and_policy_change_between_two_messages(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it:
            await feed(sources["can0"], 30)
            said = await it.reload(
                ("[uplink]", '[uplink]\ntopic = "new/{stream}"\npolicy = "drop-oldest"\nwindow = 3')
            )
            assert said == "no stream has changed; other keys: uplink.topic, uplink.policy, uplink.window"
            await feed(sources["can0"], 30)
            await until(lambda: len(sent(it.broker)) == 60)
            topics = [each.topic for each in it.broker.published if not each.retain]
            assert set(topics) == {"cpc/gateway/can0", "new/can0"}
            assert topics == sorted(topics)

    run(story)


def test_another_broker_gets_what_the_one_before_has_not(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it, TestBroker() as second:
            it.broker.is_acking = False
            await feed(sources["can0"], 30)
            await until(lambda: len(sent(it.broker)) == 30)
            said = await it.reload((f":{it.broker.port}", f":{second.port}"))
            assert said == "no stream has changed; other keys: uplink.url"
            await feed(sources["can0"], 30)
            await until(lambda: len(sent(second)) == 60)
            # It has said goodbye to the first, and is born at the second.
            states = [json.loads(each.payload)["state"] for each in it.broker.published if each.retain]
            assert states == ["birth", "death"]
            assert json.loads(second.retained["cpc/gateway/state"].payload)["state"] == "birth"

    run(story)


def test_a_broker_that_does_not_let_us_in_is_refused(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it, TestBroker(connect_code=0x87) as strict:
            async with TestBroker() as gone:
                port = gone.port
            where = f":{it.broker.port}"
            assert "[uplink] is not taken: mqtt://127.0.0.1:" in await it.refused((where, f":{strict.port}"))
            assert "Connection refused" in await it.refused((where, f":{port}"))
            tls = ('url = "mqtt://', 'ca_file = "no.pem"\nurl = "mqtts://')
            assert "no.pem: cannot be used as CA file" in await it.refused(tls)
            await feed(sources["can0"], 30)
            await until(lambda: len(sent(it.broker)) == 30)

    run(story)


def test_an_uplink_comes_and_goes(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with bench(tmp_path) as it:
            await feed(sources["can0"], 10)
            before = it.text
            assert "uplink.url" in await it.reload((before, before + it.uplink()))
            await feed(sources["can0"], 10)
            await until(lambda: len(sent(it.broker)) == 10)
            await it.reload((it.text, before))
            assert it.app.uplink is None
            await until(lambda: it.broker.peer_count == 0)
            await feed(sources["can0"], 10)
            await it.reload((before, before + it.uplink()))
            await feed(sources["can0"], 10)
            await until(lambda: len(sent(it.broker)) == 20)
            # What was taken in while there was none is sealed and anchored, and does not leave.
            assert sent(it.broker) == [(1, seq) for seq in (*range(10, 20), *range(30, 40))]
            site = it.site
        assert len(site.records()) == 40

    run(story)


def test_whoever_listens_learns_of_streams_that_come_and_of_those_that_stop_leaving(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it:

            def told() -> list[str]:
                state = json.loads(it.broker.retained["cpc/gateway/state"].payload)
                return [each["stream"] for each in state.get("streams", [])]

            await until(lambda: "cpc/gateway/state" in it.broker.retained)
            assert told() == ["can0", "can1"]
            stream = '[[stream]]\nname = "can2"\nsource = "fed:can2"\n[uplink]'
            await it.reload(
                ("[uplink]", stream), ('source = "fed:can1"', 'source = "fed:can1"\nuplink = "off"')
            )
            await until(lambda: told() == ["can0", "can2"])
            assert len(it.broker.connects) == 1
            await feed(sources["can1"], 10)
            await feed(sources["can2"], 10)
            await until(lambda: len(sent(it.broker, stream="can2")) == 10)
            assert sent(it.broker, stream="can1") == []

    run(story)


def test_frames_are_decoded_with_files_that_come_later(tmp_path: Path, sources: dict[str, FedSource]) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it:
            car = files("gateway.sensors").joinpath("car.dbc").read_bytes()
            (it.site.folder / "car.dbc").write_bytes(car)
            why = await it.refused(
                ("[uplink]", '[uplink]\nframes = "decoded"'), ('"fed:can0"', '"fed:can0"\ndbc = ["no.dbc"]')
            )
            assert "no.dbc" in why
            await it.reload(
                ("[uplink]", '[uplink]\nframes = "decoded"'), ('"fed:can0"', '"fed:can0"\ndbc = ["car.dbc"]')
            )
            batch = can_batch(1)
            batch.values[0] = CanFrame(160, 0, bytes(8))
            sources["can0"].feed(batch)
            await until(lambda: len(sent(it.broker)) == 1)
            (message,) = [json.loads(each.payload) for each in it.broker.published if not each.retain]
            assert message["records"][0][1]["message"] == "Engine"

    run(story)


def test_a_full_disk_keeps_the_uplink_as_it_was(
    tmp_path: Path, sources: dict[str, FedSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it:
            settle = Handover.settle

            def full(handover: Handover) -> None:
                raise DiskFull("outbox.db")

            monkeypatch.setattr(Handover, "settle", full)
            topic = ("[uplink]", '[uplink]\ntopic = "new/{stream}"')
            why = await it.refused(topic, ("upload_segments = 1", "upload_segments = 3"))
            assert "outbox.db: the disk is full" in why
            assert it.app.config.uplink.topic == "cpc/{gateway}/{stream}"
            monkeypatch.setattr(Handover, "settle", settle)
            await feed(sources["can0"], 5)
            await until(lambda: len(sent(it.broker)) == 5)

    run(story)


# ----------------------------------------------------------------------- remote


def test_operators_come_while_it_runs_and_one_of_them_moves_it_to_another_broker(
    tmp_path: Path, sources: dict[str, FedSource]
) -> None:
    async def story() -> None:
        async with bench(tmp_path, uplink=True) as it, TestBroker() as second:
            text = it.text + f'[remote]\noperators = ["{did_key(OPERATOR.public)}"]\n'
            said = await it.reload((it.text, text))
            assert said == "streams: added audit; other keys: remote.operators"
            await until(lambda: any(session.filters for session in it.broker.sessions.values()))
            lab = Lab(it.site, it.broker, it.app)
            moved = text.replace(f":{it.broker.port}", f":{second.port}")
            reply = await lab.ask("set-config", seq=1, config=moved)
            # Answered where it was asked, and heard at the new broker from then on.
            assert (reply.outcome, reply.text) == ("done", "no stream has changed; other keys: uplink.url")
            await until(lambda: any(session.filters for session in second.sessions.values()))
            lab = Lab(it.site, second, it.app)
            assert (await lab.ask("ping", seq=1)).outcome == "refused"
            assert (await lab.ask("ping", seq=2)).outcome == "done"
            site = it.site
        told = [(each.value["command"], each.value["outcome"]) for each in site.records("audit")]
        assert told == [
            ("set-config", "begun"),
            ("set-config", "done"),
            ("ping", "refused"),
            ("ping", "begun"),
            ("ping", "done"),
        ]

    run(story)
