"""Lines that an ELM327 prints, read into answers of ECUs.

Runs on CPython and MicroPython.  With headers on, a line is header, data and, on older buses, a
checksum; with headers off it is data alone, and long messages are numbered "0:", "1:", ..  Which of
these an adapter prints is seen from the lines, because clones acknowledge commands they do not obey.
Sources: ELM327 data sheet v2.2 ("Interpreting Trouble Codes", "Multiline Responses"), ISO 15765-2.
"""

from obd.query import Answer

CAN_11 = "CAN 11 bit"
"""`7E8 06 41 00 BE 3F A8 13`: id, ISO-TP bytes."""
CAN_29 = "CAN 29 bit"
"""`18 DA F1 10 06 41 00 BE 3F A8 13`."""
OLDER = "J1850, ISO 9141-2 or KWP2000"
"""`48 6B 10 41 00 BE 3F A8 13 C6`: three bytes of header, data, checksum."""
BARE = "no headers"
"""`41 00 BE 3F A8 13`, or `014`, `0: 49 02 ..`, `1: ..`."""

_HEX = "0123456789ABCDEFabcdef"
_SERVICE_VEHICLE_INFO = 0x49
_DTC_SERVICES = (0x43, 0x47, 0x4A)


def is_hex(text: str) -> bool:
    """Digits only; `int` would also take signs and underscores."""
    for character in text:
        if character not in _HEX:
            return False
    return bool(text)


def guess_shape(lines: list[str], service: int) -> "str | None":
    """What kind of lines these are, without spaces; service: the one asked for.  None: cannot tell."""
    for line in lines:
        if ":" in line or (len(line) == 3 and is_hex(line)):
            return BARE
        if not is_hex(line):
            continue
        size = len(line)
        if size % 2:
            return CAN_11
        if size < 4:
            continue
        if int(line[:2], 16) in (service | 0x40, 0x7F):
            return BARE
        if size >= 12 and line[:2] == "18" and int(line[8:10], 16) >> 4 <= 3:
            return CAN_29
        if size >= 10 and int(line[6:8], 16) in (service | 0x40, 0x7F):
            return OLDER
    return None


def read_lines(lines: list[str], shape: str) -> "tuple[list[Answer], int]":
    """(answers in order, lines that fit nowhere) of lines without spaces."""
    if shape == BARE:
        return _read_bare(lines)
    if shape == OLDER:
        return _read_older(lines)
    return _read_can(lines, 3 if shape == CAN_11 else 8)


class _Message:
    """A message that comes in several lines."""

    def __init__(self, ecu: int, size: int, data: bytes) -> None:
        self.ecu = ecu
        self.size = size
        self.data = bytearray(data)
        self.next_number = 1

    def add(self, data: bytes) -> bool:
        """Takes the next piece; True when that completes it."""
        self.data.extend(data)
        self.next_number = (self.next_number + 1) & 0x0F
        return len(self.data) >= self.size

    def answer(self) -> Answer:
        return Answer(self.ecu, bytes(self.data[: self.size]))


def _read_can(lines: list[str], id_digits: int) -> "tuple[list[Answer], int]":
    answers: list[Answer] = []
    unfinished: list[_Message] = []
    bad = 0
    for line in lines:
        digits = len(line) - id_digits
        if digits < 2 or digits % 2 or not is_hex(line):
            bad += 1
            continue
        ecu = int(line[:id_digits], 16)
        data = bytes.fromhex(line[id_digits:])
        kind = data[0] >> 4
        if kind == 0:
            size = data[0] & 0x0F
            if 1 <= size < len(data):
                answers.append(Answer(ecu, data[1 : 1 + size]))
            else:
                bad += 1
        elif kind == 1 and len(data) == 8:
            # Whoever begins anew has given up what it had begun.
            bad += len(unfinished)
            unfinished = [message for message in unfinished if message.ecu != ecu]
            bad -= len(unfinished)
            unfinished.append(_Message(ecu, (data[0] & 0x0F) << 8 | data[1], data[2:]))
        elif kind == 2:
            mine = [message for message in unfinished if message.ecu == ecu]
            if not mine or mine[0].next_number != data[0] & 0x0F:
                bad += 1
                unfinished = [message for message in unfinished if message.ecu != ecu]
            elif mine[0].add(data[1:]):
                unfinished.remove(mine[0])
                answers.append(mine[0].answer())
        elif kind != 3:
            bad += 1
    return answers, bad + len(unfinished)


def _read_bare(lines: list[str]) -> "tuple[list[Answer], int]":
    answers: list[Answer] = []
    sizes: list[int] = []
    unfinished: list[_Message] = []
    bad = 0
    for line in lines:
        number, colon, digits = line.partition(":")
        if not colon:
            if len(line) == 3 and is_hex(line):
                sizes.append(int(line, 16))
            elif len(line) >= 2 and len(line) % 2 == 0 and is_hex(line):
                answers.append(Answer(0, bytes.fromhex(line)))
            else:
                bad += 1
            continue
        if len(number) != 1 or not is_hex(number) or len(digits) % 2 or not is_hex(digits):
            bad += 1
            continue
        # Several ECUs come interleaved and nothing tells them apart but the order in which they began.
        data = bytes.fromhex(digits)
        mine = [message for message in unfinished if message.next_number == int(number, 16)]
        if mine:
            if mine[0].add(data):
                unfinished.remove(mine[0])
                answers.append(mine[0].answer())
        elif int(number, 16) == 0 and sizes:
            unfinished.append(_Message(0, sizes.pop(0), data))
        else:
            bad += 1
    return answers, bad + len(unfinished) + len(sizes)


def _read_older(lines: list[str]) -> "tuple[list[Answer], int]":
    """Older buses split long answers by their own means; they are joined here to what CAN would say."""
    payloads: list[tuple[int, bytes]] = []
    bad = 0
    for line in lines:
        if len(line) < 10 or len(line) % 2 or not is_hex(line):
            bad += 1
            continue
        data = bytes.fromhex(line)
        payloads.append((data[2], data[3:-1]))
    answers: list[Answer] = []
    done: list[tuple[int, bytes]] = []
    for ecu, payload in payloads:
        service = payload[0]
        key = (ecu, payload[:2] if service == _SERVICE_VEHICLE_INFO else payload[:1])
        if service == _SERVICE_VEHICLE_INFO and len(payload) > 3 and payload[1] % 2 == 0 and payload[1]:
            if key not in done:
                done.append(key)
                same = [data for other, data in payloads if other == ecu and data[:2] == payload[:2]]
                answers.append(Answer(ecu, _join_numbered(same)))
        elif service in _DTC_SERVICES:
            if key not in done:
                done.append(key)
                same = [data for other, data in payloads if other == ecu and data[:1] == payload[:1]]
                answers.append(Answer(ecu, _join_dtcs(same)))
        else:
            answers.append(Answer(ecu, payload))
    return answers, bad


def _join_numbered(payloads: list[bytes]) -> bytes:
    """Service 09: each line has a number behind its InfoType; what fills the first up is zero."""
    data = b""
    for payload in sorted(payloads, key=lambda payload: payload[2]):
        data += payload[3:]
    while data[:1] == b"\x00":
        data = data[1:]
    return payloads[0][:2] + b"\x01" + data


def _join_dtcs(payloads: list[bytes]) -> bytes:
    """Services 03, 07, 0A: three DTCs a line, filled up with zeros; CAN counts them instead."""
    codes = b""
    for payload in payloads:
        for at in range(1, len(payload) - 1, 2):
            code = payload[at : at + 2]
            if code != b"\x00\x00":
                codes += code
    return payloads[0][:1] + bytes((len(codes) // 2 & 0xFF,)) + codes
