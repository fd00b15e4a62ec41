"""What a car offers, and the longer questions to it, as conversations.

Runs on CPython.  A conversation is a generator: it yields queries and is sent their outcomes, so it knows
nothing of adapters and buses.  `hold` runs one over anything that can answer a query.
Source: SAE J1979 (2017), sections 6 to 8.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from obd import services
from obd.dtc import parse_dtcs
from obd.errors import NegativeResponse, NoAnswer, ResponseError
from obd.performance import COMPRESSION, SPARK, Performance, parse_performance
from obd.pids import SUPPORT_PIDS, Value, decode, decoders, size_of, split, supported
from obd.query import (
    ANSWERED,
    BUS_FAULT,
    DAMAGED,
    INTERRUPTED,
    NO_CAR,
    NO_DATA,
    PENDING,
    Answer,
    Outcome,
    Query,
    query,
)
from obd.readiness import Readiness, parse_readiness
from obd.scales import MAXIMA_PIDS, Scales, scaled, scales_of
from obd.test_results import TestResult, parse_test_results
from obd.tuples import new
from obd.value_table import TableValue

T = TypeVar("T")
Conversation = Generator[Query, Outcome, T]

TRIES = 3
"""A disturbed question is asked so often."""
CLEAR_TIMEOUT_MS = 5_000
"""Clearing writes to the ECU's memory, which takes its time."""
SHORT_BYTES = 6
"""PIDs and their data that go into one CAN frame beside the service."""
_WORTH_ANOTHER_TRY = (BUS_FAULT, DAMAGED, INTERRUPTED, PENDING)


def hold(conversation: Conversation[T], ask: Callable[[Query], Outcome]) -> T:
    """Runs a conversation to its end."""
    try:
        wanted = next(conversation)
        while True:
            wanted = conversation.send(ask(wanted))
    except StopIteration as end:
        result: T = end.value
        return result


@dataclass(slots=True)
class Car:
    """What was found out about a car."""

    ecus: dict[int, list[int]] = field(default_factory=dict)
    """PIDs of service 01 by ECU, rising; the ECUs in the order in which they answered."""
    takes_many: bool = False
    """Several PIDs may go in one request."""
    scales: dict[int, Scales] = field(default_factory=dict)
    """By ECU, where one does not count as usual."""

    @property
    def pids(self) -> list[int]:
        """PIDs that carry values, of all ECUs, rising."""
        found = {pid for pids in self.ecus.values() for pid in pids}
        return sorted(found - set(SUPPORT_PIDS))

    def owners(self, pid: int) -> list[int]:
        """The ECUs that answer a PID."""
        return [ecu for ecu, pids in self.ecus.items() if pid in pids]

    def ecus_with(self, pid: int) -> int:
        """How many ECUs answer a PID."""
        return sum(pid in pids for pids in self.ecus.values())


@dataclass(slots=True)
class Vehicle:
    """Who the car says it is: service 09, by ECU."""

    vin: str = ""
    vins: dict[int, str] = field(default_factory=dict)
    calibration_ids: dict[int, list[str]] = field(default_factory=dict)
    verification_numbers: dict[int, list[str]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class TroubleCodes:
    """Trouble codes by ECU; an ECU that does not know a service is not in it."""

    stored: dict[int, list[str]] = field(default_factory=dict)
    pending: dict[int, list[str]] = field(default_factory=dict)
    permanent: dict[int, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Refusals and damaged answers, for a person."""


class Reading(NamedTuple):
    """A PID of one ECU.  A tuple, since one is made for every answer."""

    ecu: int
    pid: int
    data: bytes
    """As sent."""
    values: list[Value]


def ask(wanted: Query) -> Conversation[list[Answer]]:
    """The answers to a query; a disturbed one is repeated.

    None at all is an empty list.  Raises NoAnswer when there is no car, or nothing but disturbance."""
    outcome = Outcome(NO_DATA, [], "")
    for _ in range(TRIES):
        outcome = yield wanted
        if outcome.problem not in _WORTH_ANOTHER_TRY:
            break
    answers: list[Answer] = outcome.answers
    if outcome.problem in (ANSWERED, NO_DATA) or answers:
        return answers
    raise NoAnswer(outcome.problem, outcome.detail)


def discover() -> Conversation[Car]:
    """ECUs and their PIDs.  Raises NoAnswer when there is no car."""
    car = Car()
    for base in SUPPORT_PIDS:
        if base and not any(base in pids for pids in car.ecus.values()):
            break
        count = car.ecus_with(base) if base else 0
        answers = yield from ask(query(services.request_current([base]), None, count, count))
        for answer in answers:
            try:
                body = services.payload(answer.data, services.CURRENT_DATA)
                pids = supported(base, body[1:])
            except ResponseError:
                continue
            car.ecus.setdefault(answer.ecu, []).extend(pids)
    if not car.ecus:
        raise NoAnswer(NO_CAR, "nobody knows service 01, PID 00")
    pair = [pid for pid in car.pids if pid not in (0x01, 0x02)][:2]
    if len(pair) == 2 and all(ecu > 0xFF or ecu == 0 for ecu in car.ecus):
        outcome = yield query(services.request_current(pair))
        car.takes_many = any({pid for pid, _ in _parts(answer)} >= set(pair) for answer in outcome.answers)
    if not set(MAXIMA_PIDS).isdisjoint(car.pids):
        car.scales = yield from read_scales()
    return car


def read_scales() -> Conversation[dict[int, Scales]]:
    """Scales by ECU; those that count as usual are left out."""
    found: dict[int, Scales] = {}
    for pid in MAXIMA_PIDS:
        answers = yield from ask(query(services.request_current([pid])))
        for answer in answers:
            for part, data in _parts(answer):
                if scales := scales_of(part, data):
                    found.setdefault(answer.ecu, {}).update(scales)
    return found


def rescaled(readings: list[Reading], scales: dict[int, Scales]) -> list[Reading]:
    """Readings as each ECU means them."""
    if not scales:
        return readings
    return [one._replace(values=scaled(one.pid, one.values, scales.get(one.ecu, {}))) for one in readings]


def _parts(answer: Answer) -> list[tuple[int, bytes]]:
    try:
        return split(services.payload(answer.data, services.CURRENT_DATA))
    except ResponseError:
        return []


def request_for(car: Car, pids: list[int]) -> Query:
    """Service 01 for these PIDs, with as much as is known of who will answer."""
    if len(pids) == 1:
        count = car.ecus_with(pids[0])
    else:
        owners = {tuple(car.owners(pid)) for pid in pids}
        count = 1 if len(owners) == 1 and len(next(iter(owners))) == 1 else 0
    is_short = sum(1 + size_of(pid) for pid in pids) <= SHORT_BYTES
    return query(services.request_current(pids), None, count, count if is_short else 0)


def readings_of(answers: Iterable[Answer]) -> tuple[list[Reading], list[str]]:
    """Values in answers to service 01, and what is wrong with the rest."""
    readings: list[Reading] = []
    problems: list[str] = []
    for answer in answers:
        ecu, raw = answer
        try:
            # One PID, as long as it must be: nearly all answers are of this kind.
            if len(raw) > 2 and raw[0] == 0x41 and raw[1] in decoders:
                size, compute = decoders[raw[1]]
                if size == len(raw) - 2:
                    data = raw[2:]
                    readings.append(new(Reading, (ecu, raw[1], data, compute(data))))
                    continue
            for pid, data in split(services.payload(raw, services.CURRENT_DATA)):
                readings.append(Reading(ecu, pid, data, decode(pid, data)))
        except ResponseError as error:
            problems.append(f"{error}")
    return readings, problems


def read_pid(car: Car, pid: int) -> Conversation[list[Reading]]:
    """One PID of every ECU that has it."""
    answers = yield from ask(request_for(car, [pid]))
    return rescaled(readings_of(answers)[0], car.scales)


def read_dtcs() -> Conversation[TroubleCodes]:
    """Stored, pending and permanent codes."""
    codes = TroubleCodes()
    for service, found in (
        (services.STORED_DTCS, codes.stored),
        (services.PENDING_DTCS, codes.pending),
        (services.PERMANENT_DTCS, codes.permanent),
    ):
        answers = yield from ask(query(bytes((service,))))
        for answer in answers:
            try:
                found[answer.ecu] = parse_dtcs(services.payload(answer.data, service))
            except NegativeResponse:
                # An ECU without permanent codes says that it does not know the service.
                continue
            except ResponseError as error:
                codes.problems.append(f"{error}")
    return codes


def clear_dtcs() -> Conversation[dict[int, str]]:
    """Service 04 to everybody: by ECU nothing when it has cleared, or why it did not."""
    answers = yield from ask(query(bytes((services.CLEAR_DTCS,)), timeout_ms=CLEAR_TIMEOUT_MS))
    results: dict[int, str] = {}
    for answer in answers:
        try:
            services.payload(answer.data, services.CLEAR_DTCS)
            results[answer.ecu] = ""
        except ResponseError as error:
            results[answer.ecu] = f"{error}"
    return results


def read_readiness() -> Conversation[dict[int, Readiness]]:
    """Monitors by ECU."""
    answers = yield from ask(query(services.request_current([0x01])))
    return {
        answer.ecu: parse_readiness(data) for answer in answers for pid, data in _parts(answer) if pid == 0x01
    }


def read_freeze_frame(frame: int = 0) -> Conversation[dict[int, list[Reading]]]:
    """All values of a freeze frame by ECU; ECUs that have none are left out."""
    found: dict[int, list[Reading]] = {}
    pids: dict[int, list[int]] = {}
    for base in SUPPORT_PIDS:
        if base and not any(base in known for known in pids.values()):
            break
        answers = yield from ask(query(services.request_freeze_frame(base, frame)))
        for answer in answers:
            try:
                body = services.payload(answer.data, services.FREEZE_FRAME)
                pids.setdefault(answer.ecu, []).extend(supported(base, body[2:]))
            except ResponseError:
                continue
    for pid in sorted({pid for known in pids.values() for pid in known} - set(SUPPORT_PIDS)):
        answers = yield from ask(query(services.request_freeze_frame(pid, frame)))
        for answer in answers:
            try:
                body = services.payload(answer.data, services.FREEZE_FRAME)
                pid, _, data = services.parse_freeze_frame(body)
                found.setdefault(answer.ecu, []).append(Reading(answer.ecu, pid, data, decode(pid, data)))
            except ResponseError:
                continue
    scales = (yield from read_scales()) if found else {}
    # PID 02 says which code caused the frame: without one there is no frame.
    return {
        ecu: rescaled(readings, scales)
        for ecu, readings in found.items()
        if any(value.value for reading in readings if reading.pid == 0x02 for value in reading.values)
    }


def read_vehicle() -> Conversation[Vehicle]:
    """VIN, calibrations and names, as far as the ECUs know them."""
    vehicle = Vehicle()
    for info_type in (
        services.VIN,
        services.CALIBRATION_ID,
        services.VERIFICATION_NUMBER,
        services.ECU_NAME,
    ):
        answers = yield from ask(query(services.request_info(info_type)))
        for answer in answers:
            try:
                _, items = services.parse_info(services.payload(answer.data, services.VEHICLE_INFO))
            except ResponseError:
                continue
            texts = [item.decode("ascii", "replace").replace("\x00", " ").strip() for item in items]
            if info_type == services.VIN:
                vehicle.vins[answer.ecu] = texts[0]
            elif info_type == services.CALIBRATION_ID:
                vehicle.calibration_ids[answer.ecu] = texts
            elif info_type == services.VERIFICATION_NUMBER:
                vehicle.verification_numbers[answer.ecu] = [item.hex().upper() for item in items]
            else:
                vehicle.names[answer.ecu] = " ".join(texts[0].split())
    vehicle.vin = next(iter(vehicle.vins.values()), "")
    return vehicle


def read_performance() -> Conversation[dict[int, Performance]]:
    """How often each monitor has run, by ECU."""
    found: dict[int, Performance] = {}
    for info_type in (SPARK, COMPRESSION):
        answers = yield from ask(query(services.request_info(info_type)))
        for answer in answers:
            try:
                body = services.payload(answer.data, services.VEHICLE_INFO)
                found[answer.ecu] = parse_performance(info_type, body[2:])
            except ResponseError:
                continue
    return found


def read_test_results() -> Conversation[dict[int, list[TestResult]]]:
    """Service 06: all monitors of all ECUs."""
    found: dict[int, list[TestResult]] = {}
    monitors: dict[int, list[int]] = {}
    for base in SUPPORT_PIDS:
        if base and not any(base in known for known in monitors.values()):
            break
        answers = yield from ask(query(bytes((services.TEST_RESULTS, base))))
        for answer in answers:
            try:
                body = services.payload(answer.data, services.TEST_RESULTS)
                monitors.setdefault(answer.ecu, []).extend(supported(base, body[1:]))
            except ResponseError:
                continue
    for monitor in sorted({one for known in monitors.values() for one in known} - set(SUPPORT_PIDS)):
        answers = yield from ask(query(bytes((services.TEST_RESULTS, monitor))))
        for answer in answers:
            try:
                results = parse_test_results(services.payload(answer.data, services.TEST_RESULTS))
            except ResponseError:
                continue
            found.setdefault(answer.ecu, []).extend(results)
    return found


def read_table_value(value: TableValue) -> Conversation[list[tuple[int, bytes, object]]]:
    """UDS 22: (ECU, data, value) of everybody who knows the DID.  Raises ResponseError, NoAnswer."""
    answers = yield from ask(
        query(services.request_identifiers([value.did]), value.target, 1 if value.target is not None else 0)
    )
    found: list[tuple[int, bytes, object]] = []
    refusal: NegativeResponse | None = None
    for answer in answers:
        try:
            _, data = services.parse_identifier(
                services.payload(answer.data, services.READ_DATA_BY_IDENTIFIER)
            )
        except NegativeResponse as error:
            refusal = error
            continue
        found.append((answer.ecu, data, value.decode(data)))
    if refusal is not None and not found:
        raise refusal
    return found
