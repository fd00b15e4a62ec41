"""Requests to an ECU and its answers: OBD services 01 to 0A and UDS 22.

Runs on CPython and MicroPython.  Requests are bytes with the service first; answers are taken apart after
`payload` has checked that they are what was asked for.
Sources: SAE J1979 (2017) = ISO 15031-5:2015; ISO 14229-1:2013 (negative responses, ReadDataByIdentifier).
"""

from obd.errors import NegativeResponse, RequestError, ResponseError

CURRENT_DATA, FREEZE_FRAME, STORED_DTCS, CLEAR_DTCS = 0x01, 0x02, 0x03, 0x04
TEST_RESULTS, PENDING_DTCS, VEHICLE_INFO, PERMANENT_DTCS = 0x06, 0x07, 0x09, 0x0A
READ_DATA_BY_IDENTIFIER = 0x22

PIDS_PER_REQUEST_MAX = 6
"""What ISO 15765-4 allows in one request on CAN."""

VIN, CALIBRATION_ID, VERIFICATION_NUMBER, ECU_NAME = 0x02, 0x04, 0x06, 0x0A
"""InfoTypes of service 09."""
INFO_NAMES = {
    0x02: "VIN",
    0x04: "calibration id",
    0x06: "calibration verification number",
    0x08: "in-use performance, spark ignition",
    0x0A: "ECU name",
    0x0B: "in-use performance, compression ignition",
    0x0D: "engine serial number",
    0x0F: "exhaust regulation or type approval number",
}
_ITEM_SIZES = {VIN: 17, CALIBRATION_ID: 16, VERIFICATION_NUMBER: 4, ECU_NAME: 20, 0x0D: 17, 0x0F: 17}

NEGATIVE = {
    0x10: "general reject",
    0x11: "service not supported",
    0x12: "sub-function not supported",
    0x13: "incorrect message length or invalid format",
    0x14: "response too long",
    0x21: "busy, repeat request",
    0x22: "conditions not correct",
    0x24: "request sequence error",
    0x25: "no response from subnet component",
    0x26: "failure prevents execution of requested action",
    0x31: "request out of range",
    0x33: "security access denied",
    0x35: "invalid key",
    0x36: "exceeded number of attempts",
    0x37: "required time delay not expired",
    0x70: "upload or download not accepted",
    0x71: "transfer data suspended",
    0x72: "general programming failure",
    0x73: "wrong block sequence counter",
    0x78: "request correctly received, response pending",
    0x7E: "sub-function not supported in active session",
    0x7F: "service not supported in active session",
    0x81: "engine speed too high",
    0x82: "engine speed too low",
    0x83: "engine is running",
    0x84: "engine is not running",
    0x85: "engine run time too low",
    0x86: "temperature too high",
    0x87: "temperature too low",
    0x88: "vehicle speed too high",
    0x89: "vehicle speed too low",
    0x8A: "throttle or pedal too high",
    0x8B: "throttle or pedal too low",
    0x8C: "transmission not in neutral",
    0x8D: "transmission not in gear",
    0x8F: "brake not closed",
    0x90: "shifter lever not in park",
    0x91: "torque converter clutch locked",
    0x92: "voltage too high",
    0x93: "voltage too low",
}
"""Names of ISO 14229-1, table A.1, by code."""


def negative_name(code: int) -> str:
    """What a negative response code means."""
    return NEGATIVE.get(code, "not defined by ISO 14229-1")


def payload(data: bytes, service: int) -> bytes:
    """The answer without its service byte.  Raises NegativeResponse, ResponseError."""
    if not data:
        raise ResponseError(f"an empty answer to service {service:02X}")
    if data[0] == 0x7F:
        if len(data) < 3 or data[1] != service:
            raise ResponseError(f"service {service:02X} was asked, {data.hex()} refuses something else")
        raise NegativeResponse(service, data[2], negative_name(data[2]))
    if data[0] != service | 0x40:
        raise ResponseError(f"service {service:02X} was asked, {data[0]:02X} answers")
    return data[1:]


def request_current(pids: "list[int]") -> bytes:
    """Service 01 for one to six PIDs.  Raises RequestError."""
    if not 1 <= len(pids) <= PIDS_PER_REQUEST_MAX:
        raise RequestError(f"{len(pids)} PIDs: a request takes 1 to {PIDS_PER_REQUEST_MAX}")
    return bytes((CURRENT_DATA,)) + bytes(pids)


def request_freeze_frame(pid: int, frame: int = 0) -> bytes:
    """Service 02: a PID as it was when a trouble code was set."""
    return bytes((FREEZE_FRAME, pid, frame))


def parse_freeze_frame(body: bytes) -> "tuple[int, int, bytes]":
    """(PID, frame, data) of an answer to service 02 without the service byte.  Raises ResponseError."""
    if len(body) < 2:
        raise ResponseError(f"a freeze frame of {len(body)} bytes: {body.hex()}")
    return body[0], body[1], body[2:]


def request_info(info_type: int) -> bytes:
    """Service 09: VIN, calibration ids, names."""
    return bytes((VEHICLE_INFO, info_type))


def parse_info(body: bytes) -> "tuple[int, list[bytes]]":
    """(InfoType, items) of an answer to service 09 without the service byte.  Raises ResponseError.

    Items are cut by the length that J1979 gives them; a text is stripped of what fills it up."""
    if len(body) < 2:
        raise ResponseError(f"vehicle information of {len(body)} bytes: {body.hex()}")
    info_type, count, data = body[0], body[1], body[2:]
    size = _ITEM_SIZES.get(info_type)
    if size is None or len(data) <= size:
        return info_type, [_stripped(info_type, data)]
    items = [data[at : at + size] for at in range(0, len(data), size)]
    return info_type, [_stripped(info_type, item) for item in items[: count or 1]]


def _stripped(info_type: int, item: bytes) -> bytes:
    # Numbers may begin with zeros; texts are filled up with them, in front or behind.
    return item if info_type not in _ITEM_SIZES or info_type == VERIFICATION_NUMBER else item.strip(b"\x00 ")


def request_identifiers(identifiers: "list[int]") -> bytes:
    """UDS 22 for these DIDs.  Raises RequestError."""
    if not identifiers:
        raise RequestError("UDS 22 needs at least one identifier")
    data = bytes((READ_DATA_BY_IDENTIFIER,))
    for identifier in identifiers:
        data += identifier.to_bytes(2, "big")
    return data


def parse_identifier(body: bytes) -> "tuple[int, bytes]":
    """(DID, data) of an answer to UDS 22 for one DID, without the service byte.  Raises ResponseError."""
    if len(body) < 2:
        raise ResponseError(f"an identifier needs 2 bytes, got {body.hex()}")
    return body[0] << 8 | body[1], body[2:]


def describe_request(data: bytes) -> str:
    """A request for a person, such as `22 F1A0 ReadDataByIdentifier`."""
    if data[:1] == b"\x22":
        numbers = " ".join([data[at : at + 2].hex().upper() for at in range(1, len(data), 2)])
        return f"22 {numbers} ReadDataByIdentifier"
    return data.hex().upper()
