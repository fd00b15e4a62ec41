"""An ELM327 adapter's client: bytes and the clock in, bytes to write and outcomes out.

Runs on CPython and MicroPython.  It believes no version string: what an adapter can do is seen from what
it answers.  Anything may come between, before and inside the answers; the prompt `>` alone ends one.
Source: ELM327 data sheet v2.2.

    OFF --start--> RESYNC --prompt--> STARTING --last command--> READY --ask--> ASKING --prompt--> READY
    STARTING, ASKING --no prompt in time--> RESYNC --OK and prompt--> where it was
    ASKING --banner: it has restarted--> RESYNC      RESYNC --nothing comes, ever again--> DOWN
"""

from binascii import unhexlify
from collections import namedtuple

from obd.action import Action
from obd.elm327_answer import lines_of, millivolts, read_answer
from obd.elm327_text import CAN_11, CAN_29, is_hex
from obd.errors import NotReady
from obd.query import (
    ANSWERED,
    EVERYBODY_11_BIT,
    INTERRUPTED,
    NO_CAR,
    NO_DATA,
    NOT_UNDERSTOOD,
    Answer,
    Done,
    Outcome,
    Query,
    Target,
    belongs_to,
    echo_size,
    target_of,
)
from obd.tuples import new

OFF, STARTING, READY, ASKING, RESYNC, DOWN = "off", "starting", "ready", "asking", "resync", "down"

COMMAND_TIMEOUT_MS = 1_000
RESET_TIMEOUT_MS = 4_000
"""ATZ: the slowest clones take three seconds."""
QUERY_TIMEOUT_MS = 2_000
SEARCH_TIMEOUT_MS = 15_000
"""The first query tries all protocols; ISO 9141-2 alone takes five seconds."""
SETTLE_MS = 150
"""After an unwanted prompt, so long for whatever else is on its way."""
RESYNC_MAX = 4
REPEATS_MAX = 1
BUFFER_MAX = 16_384
"""Bytes without a prompt: no adapter says so much, so it is not one."""

ENCODED_MAX = 64
"""Commands kept; a device has no room for many."""

_PROMPT = b">"
_RESYNC_COMMAND = b"ATE0\r"
_NO_QUERY = Query(b"", None, 0, 0, 0)


class Write(namedtuple("Write", ("data",)), Action):
    """Send these bytes to the adapter."""

    __slots__ = ()
    KIND = "write"


class Ready(namedtuple("Ready", ("identity",)), Action):
    """The adapter answers; `ask` may be called.  identity: what it says it is, which need not be true."""

    __slots__ = ()
    KIND = "ready"


class Down(namedtuple("Down", ("reason",)), Action):
    """Nothing useful comes from there.  Close the port, open it again, and `start` a new client."""

    __slots__ = ()
    KIND = "down"


class Shortcut:
    """How a query was answered by one frame of one ECU: the next such answer is read in one step.

    For who reads blocking: write `command`, read, and give what came to `answer`.  It costs a third of `ask`
    and `receive`, which matters because a process that has just slept runs everything from cold caches."""

    __slots__ = ("_begin", "_body_end", "_ecu", "_frame_size", "_head", "_tail", "command")

    def __init__(self, command: bytes, answer: Answer, line: bytes, tail: bytes, echoed: int) -> None:
        """line: what the answer was made of; tail: all that came behind it, with the prompt; echoed: bytes
        of the request that an answer repeats behind its service."""
        self.command = command
        self._ecu: int = answer.ecu
        self._begin = 3 if len(line) % 2 else 8
        self._frame_size = (len(line) - self._begin) // 2
        self._body_end = 1 + len(answer.data)
        self._head = line[: self._begin + 2 * (2 + echoed)]
        self._tail = tail

    def answer(self, data: bytes) -> "Answer | None":
        """The answer, when it has come whole and is like the one before in all but its values.  None: call
        `ask`, whose bytes are written already, and `receive` with `data`."""
        if not data.startswith(self._head) or not data.endswith(self._tail):
            return None
        try:
            frame = unhexlify(data[self._begin : -len(self._tail)])
        except ValueError:
            return None
        if len(frame) != self._frame_size:
            return None
        return new(Answer, (self._ecu, frame[1 : self._body_end]))


class Elm327:
    """One adapter.  Call `receive` with every byte, `tick` at `deadline_ms`, and do what they return."""

    def __init__(self, protocol: str = "0") -> None:
        """protocol: one hex digit of ATSP; 0 searches."""
        self.state = OFF
        self.deadline_ms: int | None = None
        self.identity = ""
        self.voltage_mv = 0
        """At the plug, as measured by the adapter at start; 0 when it did not say."""
        self.protocol = ""
        """Digit of ATDPN once a car has answered."""
        self.shape: str | None = None
        """Kind of its lines, once seen."""
        self.takes_count: bool | None = None
        """A digit behind a query, for how many answers to wait; None: not tried."""
        self.refused: list[str] = []
        """Commands of the start that it did not know."""
        self.noise_bytes = 0
        """What came when nothing was asked."""
        self._wanted_protocol = protocol
        self._buffer = b""
        self._commands: list[bytes] = []
        """What goes before the query, first first."""
        self._command = b""
        self._query = _NO_QUERY
        self._encoded: dict[tuple[bytes, int], bytes] = {}
        """Commands of queries asked before."""
        self._is_plain = False
        """An answer may be taken the short way: all that is to be learnt about the adapter is known."""
        self.shortcuts: dict[Query, Shortcut] = {}
        """By query, where the last answer was plain; valid for one target and shape."""
        self._target: Target | None = None
        self._is_odd_target = False
        self._has_count = False
        self._repeats = 0
        self._resyncs = 0
        self._after = STARTING
        self._kept: Outcome | None = None
        """An outcome that is told once the adapter is in step again."""
        self._confirmed = 0

    @property
    def is_ready(self) -> bool:
        """`ask` may be called."""
        return self.state == READY

    @property
    def is_can(self) -> bool:
        """The car is on CAN, so several PIDs may go in one query."""
        return self.shape in (CAN_11, CAN_29) or self.protocol in ("6", "7", "8", "9", "A", "B", "C")

    def start(self, now_ms: int) -> list[Action]:
        """Begins, whatever the adapter was doing."""
        self.protocol = ""
        self.shape = None
        self.shortcuts = {}
        self.refused = []
        self._target = None
        self._is_odd_target = False
        self._confirmed = 0
        self._commands = [
            b"ATZ\r",
            b"ATE0\r",
            b"ATL0\r",
            b"ATS0\r",
            b"ATH1\r",
            b"ATAT1\r",
            b"ATSP%s\r" % self._wanted_protocol.encode(),
            b"ATI\r",
            b"ATRV\r",
        ]
        return self._resync(STARTING, now_ms)

    def ask(self, query: Query, now_ms: int) -> list[Action]:
        """Asks the car.  Raises NotReady unless `is_ready`."""
        if self.state != READY:
            raise NotReady(f"the adapter is not ready: {self.state}")
        self._query = query
        self._repeats = 0
        self.noise_bytes += len(self._buffer)
        self._buffer = b""
        if query.target != self._target:
            self.shortcuts = {}
            self._commands = self._address(query.target)
            if self._commands:
                self.state = ASKING
                return self._next_command(now_ms)
        return self._send_query(now_ms)

    def receive(self, data: bytes, now_ms: int) -> list[Action]:
        """What follows from bytes of the adapter, however they are cut."""
        buffer = self._buffer + data if self._buffer else data
        if self.state == READY or self.state == OFF or self.state == DOWN:
            self.noise_bytes += len(buffer)
            return []
        if self.state == RESYNC:
            return self._on_resync(buffer, now_ms)
        if self._is_plain and buffer[-1:] == _PROMPT:
            answers = self._plain_answers(buffer)
            if answers is not None:
                self._buffer = b""
                return self._finish(Outcome(ANSWERED, answers, ""))
        end = buffer.find(_PROMPT)
        if end < 0:
            self._buffer = buffer
            if len(buffer) > BUFFER_MAX:
                return self._lost_step(now_ms)
            return []
        # The adapter says nothing by itself after a prompt; the rest is noise and `ask` drops it.
        self._buffer = buffer[end + 1 :]
        lines = lines_of(buffer[:end])
        if self._commands:
            return self._on_command(lines, now_ms)
        return self._on_answer(lines, now_ms)

    def tick(self, now_ms: int) -> list[Action]:
        """What follows when `deadline_ms` has passed."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        if self.state == RESYNC:
            return self._try_resync(now_ms)
        if self.state in (STARTING, ASKING):
            return self._lost_step(now_ms)
        return []

    # Getting into step

    def _lost_step(self, now_ms: int) -> list[Action]:
        """No prompt came.  Whole lines that did come are still used."""
        after = self.state
        if after == ASKING and not self._commands:
            # A line without its end may be half a line.
            whole = self._buffer[: max(self._buffer.rfind(b"\r"), 0)]
            outcome = self._read(lines_of(whole))
            if outcome.problem == NO_DATA:
                outcome = Outcome(INTERRUPTED, [], "the adapter gave no prompt in time")
            self._kept = outcome
        elif after == ASKING:
            self._kept = Outcome(INTERRUPTED, [], "the adapter gave no prompt in time")
            self._forget_target()
        return self._resync(after, now_ms)

    def _resync(self, after: str, now_ms: int) -> list[Action]:
        self._after = after
        self._is_plain = False
        self.shortcuts = {}
        self._resyncs = 0
        self.state = RESYNC
        return self._try_resync(now_ms)

    def _try_resync(self, now_ms: int) -> list[Action]:
        self._buffer = b""
        self._resyncs += 1
        if self._resyncs > RESYNC_MAX:
            self.state = DOWN
            self.deadline_ms = None
            return [Down("no adapter answers here: is it plugged in, and is the baud rate right?")]
        self.deadline_ms = now_ms + COMMAND_TIMEOUT_MS
        # Its first byte interrupts whatever is going on; a bare CR would repeat the last command instead.
        return [Write(_RESYNC_COMMAND)]

    def _on_resync(self, buffer: bytes, now_ms: int) -> list[Action]:
        self._buffer = buffer[-BUFFER_MAX:]
        if _PROMPT not in buffer:
            return []
        before, _, rest = buffer.rpartition(_PROMPT)
        if "OK" not in "".join(lines_of(before)) or rest.strip(b"\r\n\x00 "):
            self.deadline_ms = now_ms + SETTLE_MS
            return []
        self._buffer = b""
        if self._after == STARTING:
            self.state = STARTING
            return self._next_command(now_ms)
        return self._finish(self._kept or Outcome(INTERRUPTED, [], ""))

    # Commands to the adapter

    def _next_command(self, now_ms: int) -> list[Action]:
        self._command = self._commands[0]
        is_slow = self._command == b"ATZ\r"
        self.deadline_ms = now_ms + (RESET_TIMEOUT_MS if is_slow else COMMAND_TIMEOUT_MS)
        return [Write(self._command)]

    def _on_command(self, lines: list[str], now_ms: int) -> list[Action]:
        command = self._commands.pop(0)
        text = command[:-1].decode()
        lines = [line for line in lines if line != text]
        said = lines[-1] if lines else ""
        if text == "ATDPN":
            digits = said[1:] if said[:1] == "A" and len(said) > 1 else said
            self.protocol = digits if len(digits) == 1 and is_hex(digits) else "?"
            return self._finish(self._kept or Outcome(INTERRUPTED, [], ""))
        if self.state == STARTING:
            return self._on_start(text, said, now_ms)
        if self._has_restarted(lines):
            return self._restart(now_ms)
        if "OK" not in said:
            self._forget_target()
            self._commands = []
            return self._finish(Outcome(NOT_UNDERSTOOD, [], f"{text}: {said}"))
        if self._commands:
            return self._next_command(now_ms)
        return self._send_query(now_ms)

    def _on_start(self, text: str, said: str, now_ms: int) -> list[Action]:
        if text in ("ATZ", "ATI"):
            if said and said != "?":
                self.identity = said
        elif text == "ATRV":
            self.voltage_mv = millivolts(said)
        elif said.endswith("OK"):
            self._confirmed += 1
        else:
            self.refused.append(text)
        if self._commands:
            return self._next_command(now_ms)
        self.deadline_ms = None
        if self._confirmed < 2:
            self.state = DOWN
            return [Down(f"this does not behave like an ELM327: it refuses {', '.join(self.refused)}")]
        self.state = READY
        return [Ready(self.identity)]

    def _address(self, target: "Target | None") -> list[bytes]:
        """Commands that direct the next queries there."""
        self._target = target
        if target is None:
            if self.shape == CAN_29:
                texts = ["ATCP18", "ATSHDB33F1"]
            elif self.is_can or self.shape is None:
                texts = [f"ATSH{EVERYBODY_11_BIT:03X}"]
            else:
                texts = []
            if self._is_odd_target:
                texts += ["ATAR", "ATFCSM0"]
            self._is_odd_target = False
        else:
            request_id: int = target.request_id
            if request_id > 0x7FF:
                texts = [f"ATCP{request_id >> 24:02X}", f"ATSH{request_id & 0xFFFFFF:06X}"]
            else:
                texts = [f"ATSH{request_id:03X}"]
            # The adapter knows by itself whom to send flow control only for the ids of ISO 15765-4.
            self._is_odd_target = target_of(target.response_id) != target
            if self._is_odd_target:
                header = f"{request_id:08X}" if request_id > 0x7FF else f"{request_id:03X}"
                answer = (
                    f"{target.response_id:08X}" if target.response_id > 0x7FF else f"{target.response_id:03X}"
                )
                texts += [f"ATCRA{answer}", f"ATFCSH{header}", "ATFCSD300000", "ATFCSM1"]
        return [text.encode() + b"\r" for text in texts]

    def _forget_target(self) -> None:
        """Nobody knows where the adapter sends to now, so the next query says it anew."""
        self._target = Target(-1, -1)
        self._is_odd_target = True

    # Queries to the car

    def _send_query(self, now_ms: int) -> list[Action]:
        query = self._query
        self._has_count = 0 < query.frame_count < 16 and self.takes_count is not False
        key = (query.data, query.frame_count if self._has_count else 0)
        command = self._encoded.get(key)
        if command is None:
            text = query.data.hex().upper() + (f"{query.frame_count:X}" if self._has_count else "")
            if len(self._encoded) >= ENCODED_MAX:
                self._encoded.clear()
            command = self._encoded[key] = text.encode() + b"\r"
        self._command = command
        self.state = ASKING
        self._is_plain = (
            (self.shape == CAN_11 or self.shape == CAN_29)
            and self.protocol != ""
            and (not self._has_count or self.takes_count is True)
        )
        usual_ms = QUERY_TIMEOUT_MS if self.protocol else SEARCH_TIMEOUT_MS
        self.deadline_ms = now_ms + (query.timeout_ms or usual_ms)
        return [Write(self._command)]

    def _plain_answers(self, buffer: bytes) -> "list[Answer] | None":
        """Answers when all is as usual: whole lines of one frame each.  None: look closer."""
        is_11_bit = self.shape == CAN_11
        id_bytes = 2 if is_11_bit else 4
        request: bytes = self._query.data
        answers: list[Answer] = []
        lines = [line for line in buffer[:-1].split(b"\r") if line]
        for line in lines:
            digits = b"0" + line if is_11_bit else line
            try:
                raw = unhexlify(digits)
            except ValueError:
                return None
            # MicroPython skips blanks.
            size = raw[id_bytes] if 2 * len(raw) == len(digits) and len(raw) > id_bytes else 0
            body = raw[id_bytes + 1 : id_bytes + 1 + size]
            if not 1 <= size == len(body) <= 7 or body[0] == 0x7F or not belongs_to(body, request):
                return None
            answers.append(Answer(int.from_bytes(raw[:id_bytes], "big"), body))
        if len(lines) == 1 and buffer.startswith(lines[0]):
            if len(self.shortcuts) >= ENCODED_MAX:
                self.shortcuts.clear()
            tail = buffer[len(lines[0]) :]
            echoed = echo_size(request[0])
            self.shortcuts[self._query] = Shortcut(self._command, answers[0], lines[0], tail, echoed)
        return answers or None

    def _on_answer(self, lines: list[str], now_ms: int) -> list[Action]:
        if self._has_restarted(lines):
            return self._restart(now_ms)
        outcome = self._read(lines)
        problem = outcome.problem
        if problem == NOT_UNDERSTOOD and self._has_count and not self.takes_count:
            # It does not know the digit; and never will.
            self.takes_count = False
            return self._send_query(now_ms)
        if (problem == INTERRUPTED or not lines) and self._repeats < REPEATS_MAX:
            self._repeats += 1
            return self._send_query(now_ms)
        if problem:
            if problem == NO_CAR:
                # The next car may be another one.
                self.protocol = ""
                self.shape = None
                self.shortcuts = {}
            return self._finish(outcome)
        if self._has_count:
            self.takes_count = True
        if not self.protocol:
            self._kept = outcome
            self._commands = [b"ATDPN\r"]
            return self._next_command(now_ms)
        return self._finish(outcome)

    def _has_restarted(self, lines: list[str]) -> bool:
        return any(line.startswith("ELM327") or line.startswith("LVRESET") for line in lines)

    def _restart(self, now_ms: int) -> list[Action]:
        """It has forgotten all settings: the supply sagged, as it does when an engine is started."""
        actions: list[Action] = [Done(Outcome(INTERRUPTED, [], "the adapter has restarted"))]
        return actions + self.start(now_ms)

    def _finish(self, outcome: Outcome) -> list[Action]:
        self.state = READY
        self._is_plain = False
        self.deadline_ms = None
        self._query = _NO_QUERY
        self._kept = None
        return [Done(outcome)]

    def _read(self, lines: list[str]) -> Outcome:
        """What these lines say of the query."""
        outcome, shape = read_answer(lines, self._command[:-1].decode(), self._query.data, self.shape)
        if shape != self.shape:
            self.shortcuts = {}
            self.shape = shape
        return outcome
