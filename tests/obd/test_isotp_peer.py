"""ISO-TP with PyPI's can-isotp on a virtual bus: it understands us and we it, as sender and as receiver."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import can
import isotp as can_isotp
import pytest

from gateway.sensors.can_ports import frame_of_message
from obd import isotp
from obd.action import Action
from obd.can_client import CanClient
from obd.can_frame import BITRATE_SWITCH, EXTENDED, FD, CanFrame
from obd.ecu import SimulatedCar
from obd.ecu_bus import SimulatedBusCar
from obd.isotp import Failed, IsoTp, Received, Sent, Transmit
from obd.query import Done, Outcome, query
from tests.obd.isotp_addresses import ADDRESSES


def message_of(frame: CanFrame) -> can.Message:
    """The frame as python-can sends it."""
    arbitration_id, flags, data = frame
    return can.Message(
        arbitration_id=arbitration_id,
        is_extended_id=bool(flags & EXTENDED),
        is_fd=bool(flags & FD),
        bitrate_switch=bool(flags & BITRATE_SWITCH),
        data=data,
    )


class OnBus:
    """One of our endpoints on a python-can bus."""

    def __init__(self, bus: can.BusABC, end: IsoTp) -> None:
        self.bus = bus
        self.end = end
        self.told: list[Action] = []

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Transmit):
                self.bus.send(message_of(action.frame))
            else:
                self.told.append(action)

    def step(self) -> None:
        while (message := self.bus.recv(0)) is not None:
            came = frame_of_message(message)
            if self.end.address.accepts(came):
                self.do(self.end.receive(came, now_us()))
        self.do(self.end.tick(now_us()))


PEER_ADDRESSES = {
    "normal": lambda: can_isotp.Address(can_isotp.AddressingMode.Normal_11bits, txid=0x7E8, rxid=0x7E0),
    "normal 29 bit": lambda: can_isotp.Address(
        can_isotp.AddressingMode.Normal_29bits, txid=0x18DAF110, rxid=0x18DA10F1
    ),
    "normal fixed": lambda: can_isotp.Address(
        can_isotp.AddressingMode.NormalFixed_29bits, target_address=0xF1, source_address=0x28
    ),
    "extended": lambda: can_isotp.Address(
        can_isotp.AddressingMode.Extended_11bits,
        txid=0x612,
        rxid=0x6F1,
        target_address=0xF1,
        source_address=0x12,
    ),
    "extended 29 bit": lambda: can_isotp.Address(
        can_isotp.AddressingMode.Extended_29bits,
        txid=0x18DAF110,
        rxid=0x18DA10F1,
        target_address=0xF1,
        source_address=0x12,
    ),
    "mixed 11 bit": lambda: can_isotp.Address(
        can_isotp.AddressingMode.Mixed_11bits, txid=0x71A, rxid=0x712, address_extension=0x55
    ),
    "mixed": lambda: can_isotp.Address(
        can_isotp.AddressingMode.Mixed_29bits,
        target_address=0xF1,
        source_address=0x28,
        address_extension=0x55,
    ),
}


@pytest.fixture
def buses() -> Iterator[tuple[can.BusABC, can.BusABC]]:
    channel = f"isotp-{time.monotonic_ns()}"
    one = can.Bus(interface="virtual", channel=channel)
    other = can.Bus(interface="virtual", channel=channel)
    yield one, other
    one.shutdown()
    other.shutdown()


def now_us() -> int:
    return time.monotonic_ns() // 1000


def until(is_done: Callable[[], object], *steps: Callable[[], object]) -> None:
    """Takes steps until done; the peer's timers run by the real clock, so the limit is generous."""
    end = time.monotonic() + 20
    while not is_done():
        for step in steps:
            step()
        assert time.monotonic() < end, "the two never finish"


@pytest.mark.parametrize("kind", sorted(PEER_ADDRESSES))
@pytest.mark.parametrize("is_fd", [False, True], ids=["classic", "fd"])
def test_a_foreign_stack_understands_us_and_we_it(
    kind: str, is_fd: bool, buses: tuple[can.BusABC, can.BusABC]
) -> None:
    mine = OnBus(
        buses[0],
        IsoTp(
            ADDRESSES[kind][0],
            tx_dl=64 if is_fd else 8,
            is_fd=is_fd,
            size_max=5000,
            block_size=4,
            st_min_code=0xF1,
        ),
    )
    peer = can_isotp.CanStack(
        bus=buses[1],
        address=PEER_ADDRESSES[kind](),
        params={
            "tx_data_length": 64 if is_fd else 8,
            "can_fd": is_fd,
            "blocksize": 5,
            "stmin": 0xF2,
            "max_frame_size": 5000,
            "tx_padding": 0x55,
        },
    )
    messages = [
        bytes(number & 0xFF for number in range(size)) for size in (1, 6, 7, 8, 61, 62, 63, 500, 4200)
    ]
    for message in messages:
        mine.told.clear()
        mine.do(mine.end.send(message, now_us()))
        until(peer.available, mine.step, peer.process)
        assert bytes(peer.recv() or b"") == message
        until(lambda: mine.told, mine.step)
        assert mine.told == [Sent(len(message))]

        mine.told.clear()
        peer.send(message)
        until(lambda: mine.told, mine.step, peer.process)
        assert mine.told == [Received(message)]


def test_a_foreign_receiver_without_room_makes_us_stop(buses: tuple[can.BusABC, can.BusABC]) -> None:
    mine = OnBus(buses[0], IsoTp(ADDRESSES["normal"][0]))
    peer = can_isotp.CanStack(
        bus=buses[1], address=PEER_ADDRESSES["normal"](), params={"max_frame_size": 100}
    )
    mine.do(mine.end.send(bytes(101), now_us()))
    until(lambda: mine.told, mine.step, peer.process)
    assert [action.result for action in mine.told if isinstance(action, Failed)] == [isotp.N_BUFFER_OVFLW]


def test_a_foreign_receiver_may_make_us_wait(buses: tuple[can.BusABC, can.BusABC]) -> None:
    mine = OnBus(buses[0], IsoTp(ADDRESSES["normal"][0], wait_max=3))
    peer = can_isotp.CanStack(bus=buses[1], address=PEER_ADDRESSES["normal"](), params={"wftmax": 2})
    mine.do(mine.end.send(bytes(200), now_us()))
    until(lambda: len(mine.told) or peer.available(), mine.step, peer.process)
    until(peer.available, mine.step, peer.process)
    assert bytes(peer.recv() or b"") == bytes(200)


def sent_on(bus: can.BusABC) -> list[tuple[int, bytes]]:
    """(id, data) of all frames that a bystander has heard."""
    heard = []
    while (message := bus.recv(0)) is not None:
        heard.append((message.arbitration_id, bytes(message.data)))
    return heard


def test_blocks_that_each_asks_for_are_kept_by_the_other(
    buses: tuple[can.BusABC, can.BusABC],
) -> None:
    bystander = can.Bus(interface="virtual", channel=buses[0].channel_info.split()[-1])
    mine = OnBus(buses[0], IsoTp(ADDRESSES["normal"][0], block_size=3, st_min_code=0xF9))
    peer = can_isotp.CanStack(
        bus=buses[1], address=PEER_ADDRESSES["normal"](), params={"blocksize": 4, "stmin": 2}
    )
    message = bytes(range(90))
    mine.do(mine.end.send(message, now_us()))
    until(peer.available, mine.step, peer.process)
    ours = sent_on(bystander)
    assert [data[:3] for number, data in ours if number == 0x7E8] == [b"\x30\x04\x02"] * 3
    kinds = "".join("F" if number == 0x7E8 else str(data[0] >> 4) for number, data in ours)
    assert kinds == "1F" + "2222F" * 2 + "2222"
    peer.send(message)
    until(lambda: Received(message) in mine.told, mine.step, peer.process)
    theirs = sent_on(bystander)
    assert [data[:3] for number, data in theirs if number == 0x7E0] == [b"\x30\x03\xf9"] * 4
    kinds = "".join("F" if number == 0x7E0 else str(data[0] >> 4) for number, data in theirs)
    assert kinds == "1F" + "222F" * 3 + "222"
    bystander.shutdown()


# Functional addressing: one asks, several answer


def next_of(messages: list[can_isotp.CanMessage], _: float) -> can_isotp.CanMessage | None:
    """The first message, which is taken off."""
    return messages.pop(0) if messages else None


class ForeignEcu:
    """A control unit made of can-isotp: it hears everybody's id and its own, and answers at length."""

    def __init__(self, channel: str, number: int, is_29_bit: bool) -> None:
        self.bus = can.Bus(interface="virtual", channel=channel)
        self.answer = bytes((0x49, 0x04, number)) + bytes(range(30 + number))
        if is_29_bit:
            fixed = can_isotp.AddressingMode.NormalFixed_29bits
            self.ends = [
                self._end(can_isotp.Address(fixed, target_address=0xF1, source_address=number)),
                self._end(can_isotp.Address(fixed, target_address=0xF1, source_address=0x33)),
            ]
        else:
            mode = can_isotp.AddressingMode.Normal_11bits
            self.ends = [
                self._end(can_isotp.Address(mode, txid=0x7E8 + number, rxid=0x7E0 + number)),
                self._end(can_isotp.Address(mode, txid=0x7E8 + number, rxid=0x7DF)),
            ]
        self.heard: list[bytes] = []

    def _end(self, address: can_isotp.Address) -> can_isotp.TransportLayerLogic:
        # Each gets a function of its own for every step, since both are to see every frame.
        return can_isotp.TransportLayerLogic(rxfn=lambda timeout: None, txfn=self._send, address=address)

    def _send(self, message: can_isotp.CanMessage) -> None:
        self.bus.send(
            can.Message(
                arbitration_id=message.arbitration_id,
                is_extended_id=message.is_extended_id,
                data=message.data,
            )
        )

    def step(self) -> None:
        messages = []
        while (message := self.bus.recv(0)) is not None:
            messages.append(
                can_isotp.CanMessage(
                    message.arbitration_id, len(message.data), bytes(message.data), message.is_extended_id
                )
            )
        for end in self.ends:
            end.rxfn = partial(next_of, list(messages))
            end.process()
            while (request := end.recv()) is not None:
                self.heard.append(bytes(request))
                self.ends[0].send(self.answer)


@pytest.mark.parametrize("is_29_bit", [False, True])
def test_several_foreign_ecus_answer_a_broadcast_of_ours(is_29_bit: bool) -> None:
    channel = f"broadcast-{time.monotonic_ns()}"
    ecus = [ForeignEcu(channel, number, is_29_bit) for number in (0, 1, 5)]
    bus = can.Bus(interface="virtual", channel=channel)
    client = CanClient(is_29_bit)
    done: list[Outcome] = []

    def do(actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Transmit):
                bus.send(message_of(action.frame))
            elif isinstance(action, Done):
                done.append(action.outcome)

    def step() -> None:
        while (message := bus.recv(0)) is not None:
            do(client.receive(frame_of_message(message), now_us()))

    # Three will answer, and nobody is waited for longer: no deadline of ours depends on the machine.
    do(client.ask(query(b"\x09\x04", None, 3, 0), now_us()))
    until(lambda: done, step, *(ecu.step for ecu in ecus))
    expected = {
        (0x18DAF100 if is_29_bit else 0x7E8) + number: ecus[place].answer
        for place, number in enumerate((0, 1, 5))
    }
    assert {answer.ecu: answer.data for answer in done[0].answers} == expected
    assert [ecu.heard for ecu in ecus] == [[b"\x09\x04"]] * 3
    bus.shutdown()
    for ecu in ecus:
        ecu.bus.shutdown()


def test_our_ecus_answer_a_foreign_broadcast() -> None:
    channel = f"broadcast-{time.monotonic_ns()}"
    car_bus = can.Bus(interface="virtual", channel=channel)
    car = SimulatedBusCar(SimulatedCar(), is_29_bit=True, block_size=0, st_min_code=0)
    fixed = can_isotp.AddressingMode.NormalFixed_29bits
    testers = {
        target: can_isotp.CanStack(
            bus=can.Bus(interface="virtual", channel=channel),
            address=can_isotp.Address(fixed, target_address=target, source_address=0xF1),
        )
        for target in (0x33, 0x10, 0x18)
    }

    def step() -> None:
        frames = car.tick(now_us())
        while (message := car_bus.recv(0)) is not None:
            frames += car.receive(frame_of_message(message), now_us())
        for frame in frames:
            car_bus.send(message_of(frame))

    testers[0x33].send(b"\x09\x04", can_isotp.TargetAddressType.Functional)
    steps = [step, *(tester.process for tester in testers.values())]
    until(lambda: testers[0x10].available() and testers[0x18].available(), *steps)
    engine, gearbox = (bytes(testers[target].recv() or b"") for target in (0x10, 0x18))
    assert engine[:3] == b"\x49\x04\x02"
    assert engine[3:].startswith(b"CPC-ENG-2024-A1")
    assert gearbox[:3] == b"\x49\x04\x01"
    for tester in testers.values():
        tester.bus.shutdown()
    car_bus.shutdown()
