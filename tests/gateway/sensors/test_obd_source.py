"""A car as a source: over pty, TCP and CAN bus, unplugged and back, switched off and on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import can
import pytest

from gateway.sensors import schemes
from gateway.sensors.obd_links import AdapterLink, CanLink, TtyPort, adapter_link, can_link, open_link
from gateway.sensors.obd_source import (
    CAN_OPTIONS,
    OPTIONS,
    ObdSource,
    open_obd,
)
from gateway.sensors.obd_wishes import Wishes, parse_pids, usual_period_ms, wishes_of
from gateway.sensors.schemes import Scheme, open_source
from gateway.sensors.serial_port import PortSettings
from gateway.sensors.source import SYSTEM_CLOCK, BadSourceUrl, Batch, Gap, SourceUnavailable, SourceUrl
from obd.discovery import discover, hold, read_vehicle
from obd.ecu import VIN
from obd.query import query
from puf import cbor
from tests.gateway.sensors.obd_car import bus_car, plugged_car, tcp_car

LIMIT_S = 30
"""No test waits for this; one that has failed ends by it."""
QUICK = {"back_off_ms": (10,), "car_back_off_ms": (20,)}


@pytest.fixture(autouse=True)
def _rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the two schemes, where they are not there yet."""
    for word, example, options in (
        ("obd", "obd:/dev/ttyUSB0", OPTIONS),
        ("obd+can", "obd+can:can0", CAN_OPTIONS),
    ):
        if word not in schemes.SCHEMES:
            monkeypatch.setitem(schemes.SCHEMES, word, Scheme(open_obd, example, options))


def adapter_source(path: str, wishes: Wishes | None = None, **options: Any) -> ObdSource:
    link = AdapterLink("obd:test", SYSTEM_CLOCK, lambda: TtyPort(PortSettings(path, 38_400)))
    return ObdSource("car", link, SYSTEM_CLOCK, wishes, **{**QUICK, **options})


class Reader:
    """Reads batches until a test has seen what it waits for."""

    def __init__(self, source: ObdSource) -> None:
        self.source = source
        self.values: list[dict[str, Any]] = []
        self.gaps: list[Gap] = []
        self._batches: AsyncIterator[Batch] = source.batches()

    async def until(self, is_done: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not is_done():
                batch = await anext(self._batches)
                assert len(batch.taken_ns) == len(batch.values)
                self.values += batch.values
                self.gaps += [gap for _, gap in batch.gaps]

    async def until_value(self, name: str) -> dict[str, Any]:
        """The next reading of this name."""
        seen = len(self.values)
        await self.until(lambda: any(value["name"] == name for value in self.values[seen:]))
        return next(value for value in self.values[seen:] if value["name"] == name)

    async def until_gap(self, text: str) -> Gap:
        await self.until(lambda: any(text in gap.reason for gap in self.gaps))
        return next(gap for gap in self.gaps if text in gap.reason)


def run(test: Any) -> None:
    asyncio.run(test)


def test_all_that_the_car_has_comes_as_readings(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        source = adapter_source(path)
        reader = Reader(source)
        wanted = {"odometer", "dtc_permanent", "vehicle_speed", "engine_speed"}
        await reader.until(lambda: wanted <= {value["name"] for value in reader.values})
        await source.close()
        speed = next(value for value in reader.values if value["name"] == "engine_speed")
        assert speed["pid"] == "010C"
        assert (speed["unit"], speed["ecu"]) == ("rpm", "7E8")
        assert speed["value"] == (256 * speed["raw"][0] + speed["raw"][1]) / 4
        assert {value["ecu"] for value in reader.values if value["name"] == "vehicle_speed"} == {"7E8", "7E9"}
        vin = reader.values[0]
        assert (vin["pid"], vin["name"], vin["value"]) == ("0902", "vin", VIN)
        stored = next(value for value in reader.values if value["pid"] == "03" and value["ecu"] == "7E8")
        assert stored["value"] == ["P0301", "P0420", "U0121"]
        assert reader.gaps == []
        assert source.stats.received == len(reader.values)
        for value in reader.values:
            assert cbor.decode(cbor.encode(value)) == value

    with plugged_car(tmp_path) as car:
        run(story(car.path))


def test_only_what_is_wished_is_asked_and_a_table_beside_it(tmp_path: Path) -> None:
    table = tmp_path / "maker.toml"
    table.write_text(
        '[[value]]\nname = "charge"\ndid = 0x028C\nformula = "A/2"\nunit = "%"\n'
        "request_id = 0x7E0\nresponse_id = 0x7E8\nperiod_ms = 10\n"
        '[[value]]\nname = "unknown"\ndid = 0x9999\nrequest_id = 0x7E0\nresponse_id = 0x7E8\nperiod_ms = 20\n'
    )

    async def story(path: str) -> None:
        source = open_source(f"obd:{path}?pids=0C:10&table={table}", name="car")
        assert isinstance(source, ObdSource)
        reader = Reader(source)
        charge = await reader.until_value("charge")
        await reader.until_value("engine_speed")
        await reader.until(lambda: any("request out of range" in note for note in source.stats.notes))
        await source.close()
        assert (charge["pid"], charge["unit"], charge["ecu"]) == ("22028C", "%", "7E8")
        assert charge["value"] == charge["raw"][0] / 2
        assert {value["name"] for value in reader.values} == {
            *("vin", "charge", "engine_speed", "dtc_stored", "dtc_pending", "dtc_permanent")
        }
        assert any("unknown: service 22 was refused" in note for note in source.stats.notes)

    with plugged_car(tmp_path) as car:
        run(story(car.path))


def test_a_car_that_counts_in_larger_steps_is_believed(tmp_path: Path) -> None:
    async def story(path: str) -> None:
        source = adapter_source(path, Wishes({0x0B: 10}, (), 0))
        reader = Reader(source)
        pressure = await reader.until_value("intake_pressure")
        await source.close()
        assert pressure["value"] == 2 * pressure["raw"][0]

    with plugged_car(tmp_path) as car:
        # PID 4F: the scale of PID 0B goes to 510 kPa.
        car.car.ecus[0].pids[0x4F] = lambda moment: b"\x00\x00\x00\x33"
        run(story(car.path))


def test_the_plug_is_pulled_and_put_back(tmp_path: Path) -> None:
    with plugged_car(tmp_path) as car:

        async def story() -> None:
            source = adapter_source(car.path)
            reader = Reader(source)
            await reader.until_value("engine_speed")
            await asyncio.to_thread(car.unplug)
            lost = await reader.until_gap("is lost")
            await asyncio.to_thread(car.plug)
            back = await reader.until_gap("answers again")
            await reader.until_value("engine_speed")
            await source.close()
            assert (lost.count, back.count) == (0, 0)
            assert back.from_ns == lost.from_ns < back.to_ns
            assert len(reader.gaps) == 2

        run(story())


def test_the_ignition_goes_off_and_on(tmp_path: Path) -> None:
    with plugged_car(tmp_path) as car:

        async def story() -> None:
            source = adapter_source(car.path, Wishes({0x0C: 10}, (), 0))
            reader = Reader(source)
            await reader.until_value("engine_speed")
            car.car.is_on = False
            await reader.until_gap("the car does not answer")
            car.car.is_on = True
            await reader.until_gap("answers again")
            await reader.until_value("engine_speed")
            await source.close()

        run(story())


def test_an_adapter_that_falls_silent_is_lost_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUERY_TIMEOUT_MS", "COMMAND_TIMEOUT_MS", "RESET_TIMEOUT_MS"):
        monkeypatch.setattr(f"obd.elm327.{name}", 100)
    with plugged_car(tmp_path) as car:

        async def story() -> None:
            source = adapter_source(car.path, Wishes({0x0C: 10}, (), 0))
            reader = Reader(source)
            await reader.until_value("engine_speed")
            car.is_mute = True
            lost = await reader.until_gap("is lost")
            assert "no adapter answers here" in lost.reason
            car.is_mute = False
            await reader.until_gap("answers again")
            await source.close()

        run(story())


def test_a_car_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    with plugged_car(tmp_path) as car:
        car.unplug()
        with pytest.raises(SourceUnavailable, match=r"No such file"):
            adapter_source(car.path)

        async def story() -> None:
            source = adapter_source(car.path, must_be_there=False)
            reader = Reader(source)
            await reader.until_gap("is lost")
            await asyncio.to_thread(car.plug)
            await reader.until_value("vin")
            await source.close()

        run(story())


def test_a_bounded_queue_drops_and_counts(tmp_path: Path) -> None:
    with plugged_car(tmp_path) as car:

        async def story() -> None:
            source = adapter_source(car.path, queue_readings=5)
            reader = Reader(source)
            await reader.until_gap("our queue was full")
            await source.close()
            assert sum(gap.count for gap in reader.gaps if "full" in gap.reason) >= 1
            assert source.stats.dropped >= 1

        run(story())


def test_closing_ends_the_batches_and_may_be_done_twice_or_before(tmp_path: Path) -> None:
    with plugged_car(tmp_path) as car:

        async def story() -> None:
            source = adapter_source(car.path)
            ended = 0
            async for _ in source.batches():
                await source.close()
                await source.close()
                ended += 1
            assert ended >= 1
            unused = adapter_source(car.path)
            await unused.close()

        run(story())


def test_a_bug_in_the_thread_reaches_the_reader(tmp_path: Path) -> None:
    with plugged_car(tmp_path) as car:

        async def story() -> None:
            source = adapter_source(car.path)

            def broken(wanted: object) -> Any:
                raise ZeroDivisionError(f"{wanted}")

            source.link.ask = broken  # type: ignore[assignment,method-assign]  # stands for any bug
            with pytest.raises(ZeroDivisionError):
                async for _ in source.batches():
                    pass

        run(story())


def test_an_adapter_with_wifi() -> None:
    with tcp_car() as (port, clients):
        link = adapter_link(
            SourceUrl(f"obd:tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}", {}), SYSTEM_CLOCK
        )
        link.open()
        assert link.describe()["adapter"] == "ELM327v1.5"
        assert hold(read_vehicle(), link.ask).vin == VIN
        assert 0x0C in hold(discover(), link.ask).pids
        link.close()
        # It takes the next client, and hanging up is noticed.
        link.open()
        assert link.ask(query(b"\x01\x0c")).answers
        clients[-1].shutdown(socket.SHUT_RDWR)
        with pytest.raises(SourceUnavailable, match=r"hung up|reset by peer"):
            link.ask(query(b"\x01\x0c"))
        link.close()
        with pytest.raises(SourceUnavailable, match="not open"):
            link.ask(query(b"\x01\x0c"))
    with pytest.raises(SourceUnavailable, match="refused"):
        link.open()


@pytest.mark.parametrize("bits", ["auto", "11", "29"])
def test_a_car_on_the_bus(bits: str) -> None:
    async def story(channel: str) -> None:
        url = f"obd+can:{channel}?interface=virtual&pids=0C:10,0D:10&bits={bits}"
        source = open_source(url, name="car")
        assert isinstance(source, ObdSource)
        reader = Reader(source)
        speed = await reader.until_value("engine_speed")
        await source.close()
        assert speed["ecu"] == ("18DAF110" if bits == "29" else "7E8")
        assert reader.values[0]["value"] == VIN

    with bus_car(is_29_bit=bits == "29") as (channel, _):
        run(story(channel))


def test_the_bus_lets_only_answers_through() -> None:
    with bus_car() as (channel, _):
        link = can_link(SourceUrl("obd+can:x", channel, {"interface": "virtual"}), SYSTEM_CLOCK, [0x77E])
        link.open()
        assert isinstance(link, CanLink)
        other = can.Bus(interface="virtual", channel=channel)
        for number in range(0x100, 0x200):
            other.send(can.Message(arbitration_id=number, is_extended_id=False, data=b"\x01"))
        assert link._bus is not None
        assert link._bus.recv(0) is None
        other.send(can.Message(arbitration_id=0x77E, is_extended_id=False, data=b"\x01"))
        assert link._bus.recv(1) is not None
        assert len(link.ask(query(b"\x01\x0d", None, 2)).answers) == 2
        other.shutdown()
        link.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("obd:/dev/x?protocol=Z", "allowed is one digit 0 to C"),
        ("obd:/dev/x?baud=1", "baud=1"),
        ("obd:tcp://host:0", "no host and port"),
        ("obd:tcp://host:99999", "no host and port"),
        ("obd:tcp://", "no host and port"),
        ("obd:tcp://host:1?baud=9600", "baud= is for serial ports"),
        ("obd:/dev/x?pids=FE", "pids=FE: no PID of service 01"),
        ("obd:/dev/x?pids=speedo", "pids=speedo"),
        ("obd:/dev/x?pids=0C:1", "a period is 10 to"),
        ("obd:/dev/x?table=/no/such.toml", "such.toml"),
        ("obd:/dev/x?dtc_period_ms=-1", "dtc_period_ms"),
        ("obd:/dev/x?bits=11", "unknown option 'bits'"),
        ("obd+can:can0?bits=12", "allowed are auto, 11, 29"),
    ],
)
def test_what_is_wrong_in_the_string_is_named(text: str, reason: str) -> None:
    with pytest.raises(BadSourceUrl) as caught:
        open_source(text, name="car")
    assert reason in str(caught.value)


def test_pids_are_named_by_number_or_by_value() -> None:
    url = SourceUrl("obd:x", "x", {})
    assert parse_pids(url, "0C:200,engine_load, 05") == {0x0C: 200, 0x04: 200, 0x05: 5_000}
    assert wishes_of(url) == Wishes({}, (), 60_000)
    assert [usual_period_ms(pid) for pid in (0x0C, 0x06, 0x05, 0xA6, 0x81)] == [
        200,
        1_000,
        5_000,
        60_000,
        60_000,
    ]


def test_a_link_is_of_the_kind_that_its_string_says() -> None:
    assert isinstance(open_link(SourceUrl("obd:/dev/x", "/dev/x", {}), SYSTEM_CLOCK), AdapterLink)
    assert isinstance(open_link(SourceUrl("obd+can:can0", "can0", {}), SYSTEM_CLOCK), CanLink)
