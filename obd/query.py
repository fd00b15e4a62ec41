"""What is asked of a car, and what comes back, whichever way it goes.

Runs on CPython and MicroPython.  A link, by ELM327 adapter or by CAN bus, takes one Query at a time and
gives one Outcome.  Sources: ISO 15765-4:2016, section 10 (ids of OBD on CAN), ISO 15031-5.
"""

from collections import namedtuple

from obd.action import Action

ANSWERED = ""
NO_DATA = "no data"
"""Nobody answered this question; the car may answer others."""
NO_CAR = "no car"
"""The adapter finds no ECU at all: ignition off, or not plugged into a car."""
BUS_FAULT = "bus fault"
"""The bus is disturbed or busy."""
OVERRUN = "adapter overrun"
"""The car answered more than the adapter could hold."""
INTERRUPTED = "interrupted"
"""The adapter broke off or restarted; ask again."""
DAMAGED = "damaged"
"""Something came that cannot be put together."""
NOT_UNDERSTOOD = "not understood"
"""The adapter does not know the command."""
PENDING = "pending"
"""The ECU promised an answer and did not keep its word."""

EVERYBODY_11_BIT = 0x7DF
EVERYBODY_29_BIT = 0x18DB33F1
_TESTER = 0xF1


class Target(namedtuple("Target", ("request_id", "response_id"))):
    """One ECU: the CAN id it listens to, and the one it answers with."""

    __slots__ = ()


class Query(namedtuple("Query", ("data", "target", "answer_count", "frame_count", "timeout_ms"))):
    """data: bytes, service first.  target: one ECU, or None for everybody.  answer_count: ECUs that will
    answer, so that nobody waits for more; 0 when not known.  frame_count: the same for CAN frames, known
    only where each answer is one.  timeout_ms: 0 for usual."""

    __slots__ = ()


class Answer(namedtuple("Answer", ("ecu", "data"))):
    """ecu: CAN id of the answer, address on an older bus, 0 when the adapter hides it.  data: bytes,
    service first."""

    __slots__ = ()


class Outcome(namedtuple("Outcome", ("problem", "answers", "detail"))):
    """problem: ANSWERED or one of the above.  answers: list of Answer, in order of arrival; may be there
    beside a problem.  detail: for a person."""

    __slots__ = ()


class Done(namedtuple("Done", ("outcome",)), Action):
    """A query is over."""

    __slots__ = ()
    KIND = "done"


def query(
    data: bytes,
    target: "Target | None" = None,
    answer_count: int = 0,
    frame_count: int = 0,
    timeout_ms: int = 0,
) -> Query:
    """A Query with the usual left out."""
    return Query(data, target, answer_count, frame_count, timeout_ms)


def target_of(ecu: int) -> "Target | None":
    """How to speak to the ECU that answered with this id; None where no rule tells."""
    if 0x7E8 <= ecu <= 0x7EF:
        return Target(ecu - 8, ecu)
    if ecu >> 8 == 0x18DA00 | _TESTER:
        return Target(0x18DA0000 | (ecu & 0xFF) << 8 | _TESTER, ecu)
    return None


def ecu_name(ecu: int) -> str:
    """An ECU for a person: its id in hex, as wide as it is on its bus."""
    if ecu == 0:
        return "?"
    return f"{ecu:08X}" if ecu > 0x7FF else f"{ecu:03X}" if ecu > 0xFF else f"{ecu:02X}"


def echo_size(service: int) -> int:
    """How many bytes behind its service an answer repeats from the request: a PID, a DID, or none."""
    return 2 if service == 0x22 else 1 if service in (0x01, 0x02, 0x06, 0x09) else 0


def belongs_to(data: bytes, request: bytes) -> bool:
    """The answer is one to this request, or a refusal of it, and none that comes late to another."""
    if not data:
        return False
    if data[0] == 0x7F:
        return data[1:2] == request[:1]
    service = request[0]
    if data[0] != service | 0x40:
        return False
    if service == 0x01:
        # Of several PIDs any may come first.
        return data[1:2] != b"" and data[1] in request[1:]
    end = 1 + echo_size(service)
    return data[1:end] == request[1:end]


def is_pending(data: bytes) -> bool:
    """The ECU says: wait, the answer comes later (negative response 78)."""
    return len(data) == 3 and data[0] == 0x7F and data[2] == 0x78


def outcome_of(answers: list[Answer], detail: str) -> Outcome:
    """The outcome when these answers came, promises included.  A promise that was kept is dropped."""
    final = [answer for answer in answers if not is_pending(answer.data)]
    if final:
        return Outcome(ANSWERED, final, detail)
    return Outcome(PENDING if answers else NO_DATA, [], detail)
