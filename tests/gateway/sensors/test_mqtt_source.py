"""MQTT as a source, against a broker of our own that breaks links, forgets sessions and counts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.sensors.mqtt_source import FULL, MqttSource, open_mqtt
from gateway.sensors.source import (
    DROP_NEWEST,
    DROP_OLDEST,
    SYSTEM_CLOCK,
    BadSourceUrl,
    Batch,
    Clock,
    SourceUnavailable,
    SourceUrl,
)
from tests.gateway.mqtt_broker import TestBroker
from tests.gateway.waiting import until

TIMEOUT_S = 20.0


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await story()

    asyncio.run(limited())


def opened(target: str, **options: str) -> MqttSource:
    return opened_with(SYSTEM_CLOCK, target, options)


def opened_with(clock: Clock, target: str, options: dict[str, str]) -> MqttSource:
    options = dict(options)
    scheme = options.pop("scheme", "mqtt")
    text = f"{scheme}:{target}" + ("?" + "&".join(f"{k}={v}" for k, v in options.items()) if options else "")
    return open_mqtt(SourceUrl(text, target, options), "m", clock)


class Reader:
    """Takes what a source gives, and acknowledges it unless told not to."""

    def __init__(self, source: MqttSource, *, is_acknowledging: bool = True) -> None:
        self.source = source
        self.is_acknowledging = is_acknowledging
        self.values: list[dict[str, Any]] = []
        self.gaps: list[str] = []
        self.batches: list[Batch] = []
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for batch in self.source.batches():
            self.values += batch.values
            self.gaps += [gap.reason for _, gap in batch.gaps]
            self.batches.append(batch)
            if self.is_acknowledging:
                self.source.acknowledge(batch)

    async def until(self, is_so: Callable[[], bool]) -> None:
        def is_so_or_over() -> bool:
            if self._task.done():
                self._task.result()
                raise AssertionError("the source has ended")
            return is_so()

        await until(is_so_or_over)

    async def close(self) -> None:
        await self.source.close()
        await self._task


def subscribed(broker: TestBroker) -> bool:
    return any(session.filters for session in broker.sessions.values())


def payloads(reader: Reader) -> list[bytes]:
    return [value["payload"] for value in reader.values]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_messages_come_in_order_and_are_acknowledged_when_they_are_durable(version: str) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(opened(f"//127.0.0.1:{broker.port}/site/+/data", v=version))
            await reader.until(lambda: subscribed(broker))
            for number in range(1_200):
                broker.publish(f"site/{number % 3}/data", b"%d" % number)
            broker.publish("other", b"not ours")
            await reader.until(lambda: len(reader.values) == 1_200)
            assert payloads(reader) == [b"%d" % number for number in range(1_200)]
            assert reader.values[4] == {"topic": "site/1/data", "payload": b"4", "qos": 1}
            assert all(len(batch.taken_ns) == len(batch.values) <= 500 for batch in reader.batches)
            await reader.until(lambda: broker.puback_count == 1_200)
            await reader.close()
            assert reader.source.stats.received == 1_200
            assert reader.gaps == []

    run(story)


def test_what_was_not_acknowledged_comes_again_and_says_so() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(opened(f"//127.0.0.1:{broker.port}/a"), is_acknowledging=False)
            await reader.until(lambda: subscribed(broker))
            for number in range(10):
                broker.publish("a", b"%d" % number)
            await reader.until(lambda: len(reader.values) == 10)
            assert broker.puback_count == 0
            broker.drop_all()
            reader.is_acknowledging = True
            await reader.until(lambda: len(reader.values) == 20)
            assert payloads(reader)[10:] == [b"%d" % number for number in range(10)]
            assert [value.get("dup") for value in reader.values] == [None] * 10 + [True] * 10
            # On the second connection their numbers are others: these must not be acknowledged there.
            reader.source.acknowledge(reader.batches[0])
            await reader.until(lambda: broker.puback_count == 10)
            where = f"mqtt://127.0.0.1:{broker.port}"
            assert reader.gaps[0] == f"the link to {where} broke"
            assert reader.gaps[1].startswith(f"{where} is back, and has kept our session: what it could not")
            assert len(reader.gaps) == 2
            await reader.close()

    run(story)


def test_a_gateway_that_was_away_gets_what_was_published_meanwhile() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            target = f"//127.0.0.1:{broker.port}/a"
            first = Reader(opened(target))
            await first.until(lambda: subscribed(broker))
            await first.close()
            await until(lambda: broker.peer_count == 0)
            for number in range(5):
                broker.publish("a", b"%d" % number)
            second = Reader(opened(target))
            await second.until(lambda: len(second.values) == 5)
            assert payloads(second) == [b"0", b"1", b"2", b"3", b"4"]
            await second.close()

    run(story)


def test_a_broker_that_has_forgotten_our_session_is_told_of() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(opened(f"//127.0.0.1:{broker.port}/a"))
            await reader.until(lambda: subscribed(broker))
            broker.drop_all()
            await until(lambda: broker.peer_count == 0)
            broker.sessions.clear()
            await reader.until(lambda: subscribed(broker) and len(reader.gaps) == 2)
            assert reader.gaps[1].endswith("has forgotten our session: what came in between is lost")
            await reader.close()

    run(story)


def test_at_most_as_many_messages_are_under_way_as_the_queue_holds() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(opened(f"//127.0.0.1:{broker.port}/a", queue="7"), is_acknowledging=False)
            await reader.until(lambda: subscribed(broker))
            assert broker.connects[0].receive_max == 7
            for number in range(20):
                broker.publish("a", b"%d" % number)
            await reader.until(lambda: len(reader.values) == 7)
            (session,) = broker.sessions.values()
            assert (len(session.unacked), len(session.queue)) == (7, 13)
            for batch in reader.batches:
                reader.source.acknowledge(batch)
            reader.is_acknowledging = True
            await reader.until(lambda: len(reader.values) == 20)
            assert payloads(reader) == [b"%d" % number for number in range(20)]
            await reader.close()

    run(story)


def test_a_broker_without_a_limit_is_not_read_from_while_the_queue_is_full() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(
                opened(f"//127.0.0.1:{broker.port}/a", queue="100", v="3.1.1"), is_acknowledging=False
            )
            await reader.until(lambda: subscribed(broker))
            for number in range(20_000):
                broker.publish("a", b"%010d" % number * 10)
            await reader.until(lambda: reader.source._link is not None and reader.source._link._is_paused)
            # What was in our buffer when the queue was full came, too.
            assert len(reader.values) < 2_000
            reader.is_acknowledging = True
            taken = 0
            while len(reader.values) < 20_000:
                while taken < len(reader.batches) and len(reader.source._under_way):
                    reader.source.acknowledge(reader.batches[taken])
                    taken += 1
                await asyncio.sleep(0)
            assert payloads(reader) == [b"%010d" % number * 10 for number in range(20_000)]
            assert reader.gaps == []
            await reader.close()

    run(story)


def test_messages_without_guarantee_that_do_not_fit_are_counted() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(
                opened(f"//127.0.0.1:{broker.port}/a", qos="0", queue="10"), is_acknowledging=False
            )
            await reader.until(lambda: subscribed(broker))
            for number in range(30):
                broker.publish("a", b"%d" % number, qos=0)
            await reader.until(lambda: len(reader.gaps) == 1)
            assert payloads(reader) == [b"%d" % number for number in range(10)]
            assert reader.source.stats.dropped == 20
            assert sum(gap.count for batch in reader.batches for _, gap in batch.gaps) == 20
            assert reader.gaps == ["our queue was full: storing is slower than the broker sends"]
            await reader.close()

    run(story)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize(("overrun", "kept"), [(DROP_OLDEST, range(190, 200)), (DROP_NEWEST, range(10))])
def test_a_policy_that_drops_counts_and_then_acknowledges_what_it_dropped(
    overrun: str, kept: range, version: str
) -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            all_came = asyncio.Event()

            async def sleep(seconds: float) -> None:
                await all_came.wait()

            options = {"queue": "10", "v": version}
            source = opened_with(Clock(sleep=sleep), f"//127.0.0.1:{broker.port}/a", options)
            source.overrun = overrun
            reader = Reader(source, is_acknowledging=False)
            await reader.until(lambda: subscribed(broker))
            for number in range(200):
                broker.publish("a", b"%d" % number)
            await until(lambda: source.stats.dropped == 190)
            all_came.set()
            await reader.until(lambda: len(reader.batches) == 1)
            (batch,) = reader.batches
            assert [int(payload) for payload in payloads(reader)] == list(kept)
            place = 0 if overrun == DROP_OLDEST else 10
            assert [(at, gap.reason, gap.count) for at, gap in batch.gaps] == [(place, FULL, 190)]
            for _ in range(200):
                await asyncio.sleep(0)
            # Nor has any come that was on its way.
            assert broker.puback_count == 0
            source.acknowledge(batch)
            await until(lambda: broker.puback_count == 200)
            await reader.close()

    run(story)


def test_properties_of_version_5_are_kept() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(opened(f"//127.0.0.1:{broker.port}/a", payload="text"))
            await reader.until(lambda: subscribed(broker))
            pair = b"\x26\x00\x04unit\x00\x03kWh"
            broker.publish("a", b"7", properties=b"\x03\x00\x0atext/plain" + pair + b"\x01\x01")
            broker.publish("a", b"\xff\xfe")
            await reader.until(lambda: len(reader.values) == 2)
            assert reader.values[0] == {
                "topic": "a",
                "payload": "7",
                "qos": 1,
                "properties": {
                    "ContentType": "text/plain",
                    "UserProperty": [["unit", "kWh"]],
                    "PayloadFormatIndicator": 1,
                },
            }
            assert reader.values[1]["payload"] == b"\xff\xfe"
            await reader.close()

    run(story)


def test_two_gateways_of_a_group_share_the_messages() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            target = f"//127.0.0.1:{broker.port}/a"
            readers = [Reader(opened(target, share="g", client_id=name)) for name in ("one", "two")]
            for reader in readers:
                await reader.until(lambda: len([1 for each in broker.sessions.values() if each.filters]) == 2)
            for number in range(10):
                broker.publish("a", b"%d" % number)
            await readers[0].until(lambda: sum(len(reader.values) for reader in readers) == 10)
            assert [len(reader.values) for reader in readers] == [5, 5]
            for reader in readers:
                await reader.close()

    run(story)


def test_a_broker_that_is_away_is_waited_for_or_refused_as_asked() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            port = broker.port
        with pytest.raises(SourceUnavailable, match="Connection refused"):
            await anext(opened(f"//127.0.0.1:{port}/a", wait="0").batches())
        reader = Reader(opened(f"//127.0.0.1:{port}/a"))
        await reader.until(lambda: len(reader.gaps) == 1)
        assert reader.gaps == [f"mqtt://127.0.0.1:{port} cannot be reached"]
        async with TestBroker(port=port) as broker:
            await reader.until(lambda: subscribed(broker))
            broker.publish("a", b"there")
            await reader.until(lambda: len(reader.values) == 1)
            await reader.close()

    run(story)


def test_a_refused_subscription_is_said_with_its_reason() -> None:
    async def story() -> None:
        async with TestBroker(subscribe_code=0x87) as broker:
            with pytest.raises(
                SourceUnavailable, match=r"Not authorized: check username= and password_file="
            ):
                await anext(opened(f"//127.0.0.1:{broker.port}/a", wait="0").batches())

    run(story)


def test_closing_waits_for_what_was_handed_out() -> None:
    async def story() -> None:
        async with TestBroker() as broker:
            reader = Reader(opened(f"//127.0.0.1:{broker.port}/a"))
            await reader.until(lambda: subscribed(broker))
            for number in range(50):
                broker.publish("a", b"%d" % number)
            await reader.until(lambda: len(reader.values) > 0)
            await reader.close()
            assert broker.puback_count == len(reader.values)

    run(story)


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("127.0.0.1/a", {}, "a broker and a topic filter are needed"),
        ("//127.0.0.1", {}, "a broker and a topic filter are needed"),
        ("//127.0.0.1/", {}, "a broker and a topic filter are needed"),
        ("///a", {}, "there is no host"),
        ("//me:secret@host/a", {}, "use username= and password_file="),
        ("//host:x/a", {}, "is no host or host:port"),
        ("//host/a#", {}, "# stands alone"),
        ("//host/#/a", {}, "# stands alone"),
        ("//host/a+/b", {}, "+ stands for a whole level"),
        ("//host/$share/g/a", {}, "write share=GROUP"),
        ("//host/a", {"qos": "2"}, "allowed are 0, 1"),
        ("//host/a", {"v": "4"}, "allowed are 5, 3.1.1"),
        ("//host/a", {"v": "3.1.1", "share": "g"}, "share= needs v=5"),
        ("//host/a", {"share": "g/h"}, "has none of"),
        ("//host/a", {"ca": "x"}, "are for mqtts://"),
        ("//host/a", {"password_file": "x"}, "needs username="),
        ("//host/a", {"queue": "0"}, "allowed is a whole number from 1 to 65535"),
        ("//host/a", {"tls_min": "1.1"}, "allowed are 1.2, 1.3"),
    ],
)
def test_a_wrong_url_is_refused_with_what_to_write(
    target: str, options: dict[str, str], problem: str
) -> None:
    with pytest.raises(BadSourceUrl) as caught:
        opened(target, **options)
    assert problem in str(caught.value)
    assert "secret" not in caught.value.reason


def test_the_client_id_is_the_same_after_a_restart_and_another_for_another_stream() -> None:
    ids = [opened("//host/a").client_id, opened("//host/a").client_id, opened("//host/b").client_id]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("cpc-m-")
    assert opened("//host/a", client_id="x").client_id == "x"
