"""A simulated ELM327 in front of a simulated car: bytes in, bytes out.

Runs on CPython.  It does what the data sheet says, and by `quirks` what adapters do instead.
Source: ELM327 data sheet v2.2.
"""

from __future__ import annotations

from obd.ecu import Ecu, SimulatedCar
from obd.elm327_text import is_hex
from obd.isotp import IsoTp, Transmit
from obd.isotp_address import normal

IDENTITY = "ELM327 v1.5"
QUIRKS = {
    "echo": "the echo cannot be switched off",
    "spaces": "spaces cannot be switched off",
    "no-headers": "headers are acknowledged, yet never shown",
    "no-count": "a digit behind the query is not known",
    "old": "unknown commands everywhere: only ATZ, ATE0, ATL0, ATH1, ATSP",
    "nul": "NUL bytes between all others",
    "linefeeds": "line feeds that cannot be switched off",
    "no-many": "the car takes one PID a query only",
}


class SimulatedAdapter:
    """One adapter, plugged into a car on CAN with 11-bit or 29-bit ids."""

    def __init__(self, car: SimulatedCar, quirks: frozenset[str] = frozenset(), *, is_29_bit: bool = False):
        """quirks: of QUIRKS.  Raises ValueError for an unknown one."""
        unknown = quirks - QUIRKS.keys()
        if unknown:
            raise ValueError(f"unknown quirks {', '.join(sorted(unknown))}; known are {', '.join(QUIRKS)}")
        self.car = car
        self.quirks = quirks
        self.is_29_bit = is_29_bit
        self.query_count = 0
        self._input = bytearray()
        self._reset()

    def _reset(self) -> None:
        self._has_echo = True
        self._has_linefeeds = False
        self._has_spaces = True
        self._has_headers = False
        self._is_connected = False
        self._target: int | None = None
        """Physical request id; None for everybody."""
        self._last = b""

    def receive(self, data: bytes, now_ms: int) -> bytes:
        """What the adapter prints for these bytes from the host."""
        output = b""
        for byte in data:
            if byte == 0x0D:
                command = bytes(self._input)
                self._input.clear()
                output += self._command(command, now_ms)
            elif byte != 0:
                self._input.append(byte)
                del self._input[:-256]
        if "nul" in self.quirks:
            output = b"".join(bytes((byte, 0)) for byte in output)
        return output

    def _command(self, command: bytes, now_ms: int) -> bytes:
        has_echo = self._has_echo or "echo" in self.quirks
        end = "\r\n" if self._has_linefeeds or "linefeeds" in self.quirks else "\r"
        text = "".join(command.decode("ascii", "replace").upper().split())
        if not text:
            text = self._last.decode()
        self._last = text.encode("ascii", "replace")
        lines = self._at(text[2:]) if text.startswith("AT") else self._query(text, now_ms)
        answer = "".join(line + end for line in lines) + end + ">"
        return (command + end.encode() if has_echo else b"") + answer.encode()

    def _at(self, text: str) -> list[str]:
        if text in ("Z", "WS"):
            self._reset()
            return ["", "", IDENTITY]
        if "old" in self.quirks and text not in ("E0", "L0", "H1") and not text.startswith("SP"):
            return ["?"]
        switches = {"E": "_has_echo", "L": "_has_linefeeds", "S": "_has_spaces", "H": "_has_headers"}
        if len(text) == 2 and text[0] in switches and text[1] in "01":
            setattr(self, switches[text[0]], text[1] == "1")
            return ["OK"]
        if text == "I":
            return [IDENTITY]
        if text == "RV":
            return ["12.6V"]
        if text == "DPN":
            return ["A" + ("7" if self.is_29_bit else "6")]
        if text.startswith("SP"):
            self._is_connected = False
            return ["OK"]
        if text.startswith("SH"):
            digits = text[2:]
            if not is_hex(digits):
                return ["?"]
            if self.is_29_bit:
                self._target = None if digits == "DB33F1" else 0x18000000 | int(digits, 16)
            else:
                self._target = None if digits == "7DF" else int(digits, 16)
            return ["OK"]
        known = ("AT", "CP", "CRA", "AR", "FCS", "AL", "CAF", "ST", "M", "D")
        return ["OK"] if text.startswith(known) else ["?"]

    def _query(self, text: str, now_ms: int) -> list[str]:
        count = 0
        if len(text) % 2:
            if "no-count" in self.quirks or "old" in self.quirks:
                return ["?"]
            text, digit = text[:-1], text[-1]
            count = int(digit, 16) if digit in "123456789ABCDEF" else 0
        try:
            request = bytes.fromhex(text)
        except ValueError:
            return ["?"]
        if not 1 <= len(request) <= 7:
            return ["?"]
        self.query_count += 1
        lines = self._answers(request, now_ms)
        if count:
            lines = lines[:count]
        if not self._is_connected:
            if not lines and not self.car.is_on:
                return ["SEARCHING...", "UNABLE TO CONNECT"]
            self._is_connected = True
            return ["SEARCHING...", *(lines or ["NO DATA"])]
        return lines or ["NO DATA"]

    def _answers(self, request: bytes, now_ms: int) -> list[str]:
        if "no-many" in self.quirks and request[0] == 1:
            request = request[:2]
        streams: list[list[str]] = []
        for ecu in self.car.ecus:
            if self._target is not None and self._target != request_id(ecu, self.is_29_bit):
                continue
            lines: list[str] = []
            for answer in self.car.answers(ecu, request, now_ms, is_functional=self._target is None):
                lines += self._lines(ecu, answer)
            if lines:
                streams.append(lines)
        # ECUs answer at the same time, so their frames come in turns.
        longest = max((len(lines) for lines in streams), default=0)
        return [lines[row] for row in range(longest) for lines in streams if row < len(lines)]

    def _lines(self, ecu: Ecu, answer: bytes) -> list[str]:
        gap = " " if self._has_spaces or "spaces" in self.quirks else ""
        if not self._has_headers or "no-headers" in self.quirks:
            if len(answer) <= 7:
                return [answer.hex(" ").upper().replace(" ", gap)]
            pieces = [answer[:6], *(answer[at : at + 7] for at in range(6, len(answer), 7))]
            numbered = [
                f"{n & 15:X}:{gap}" + piece.hex(" ").upper().replace(" ", gap)
                for n, piece in enumerate(pieces)
            ]
            return [f"{len(answer):03X}", *numbered]
        lines = []
        response = response_id(ecu, self.is_29_bit)
        head = f"{response:08X}" if self.is_29_bit else f"{response:03X}"
        if gap and self.is_29_bit:
            head = " ".join(head[at : at + 2] for at in range(0, 8, 2))
        for frame in frames_of(ecu, answer, self.is_29_bit):
            lines.append(head + gap + frame.hex(" ").upper().replace(" ", gap))
        return lines


def request_id(ecu: Ecu, is_29_bit: bool) -> int:
    """The id that an ECU listens to."""
    return 0x18DA00F1 | ecu.address << 8 if is_29_bit else 0x7E0 + ecu.number


def response_id(ecu: Ecu, is_29_bit: bool) -> int:
    """The id that an ECU answers with."""
    return 0x18DAF100 | ecu.address if is_29_bit else 0x7E8 + ecu.number


def frames_of(ecu: Ecu, answer: bytes, is_29_bit: bool) -> list[bytes]:
    """The data of the frames in which an answer goes over CAN, flow control granted."""
    sender = IsoTp(normal(response_id(ecu, is_29_bit), request_id(ecu, is_29_bit), is_29_bit), padding=0)
    actions = sender.send(answer, 0)
    frames = [action.frame.data for action in actions if isinstance(action, Transmit)]
    if len(answer) > 7:
        go_on = normal(request_id(ecu, is_29_bit), response_id(ecu, is_29_bit), is_29_bit)
        granted = IsoTp(go_on).receive(actions[0].frame, 0) if isinstance(actions[0], Transmit) else []
        for action in granted:
            if isinstance(action, Transmit):
                more = sender.receive(action.frame, 0)
                while more:
                    frames += [one.frame.data for one in more if isinstance(one, Transmit)]
                    more = sender.tick(0) if sender.deadline_us == 0 else []
    return frames
