"""EDHOC's messages as bytes: what each consists of, and nothing that needs a key.

Runs on CPython and MicroPython.  All are CBOR sequences in deterministic encoding, and no other is taken.

    message_1   = METHOD, SUITES_I, G_X, C_I, ? EAD_1          error = ERR_CODE, ERR_INFO
    message_2   = << G_Y, CIPHERTEXT_2 >>                      PLAINTEXT_2 = C_R, ID_CRED_R, MAC_2, ? EAD_2
    message_3   = << CIPHERTEXT_3 >>                           PLAINTEXT_3 = ID_CRED_I, MAC_3, ? EAD_3
    message_4   = << CIPHERTEXT_4 >>                           PLAINTEXT_4 = ? EAD_4

Source: RFC 9528, sections 3.8, 5 and 6.
"""

from collections import namedtuple

from puf import cbor
from puf.edhoc_credential import decode_id, encode_id
from puf.edhoc_keys import MAC_BYTES, sequence
from puf.errors import DecodeError

METHOD = 3
"""Both sides prove themselves by static Diffie-Hellman keys.  Source: RFC 9528, section 3.2."""
MESSAGE_SIZE_MAX = 1024
"""Bytes of a message that are looked at; with credentials by value a message has some 150."""
SUITES_MAX = 16
"""Suites that a peer may list."""

UNSPECIFIED, WRONG_SUITE, UNKNOWN_CREDENTIAL = 1, 2, 3
"""ERR_CODE.  0, success, is never sent.  Source: RFC 9528, section 6."""

PADDING = 0
"""Label of an EAD item that means nothing and hides the length.  Source: RFC 9528, section 3.8.1."""


class Ead(namedtuple("Ead", ("label", "value", "is_critical"))):
    """An item of external authorization data.

    `label`: int, 0 or more; `value`: bytes, or None; `is_critical`: whether a receiver that does not know
    the label must end the handshake.
    """

    __slots__ = ()
    KIND = "ead"


class Message1(namedtuple("Message1", ("suites", "selected", "g_x", "c_i", "ead"))):
    """The first message.

    `suites`: a tuple of int, in the sender's order, up to the `selected` one; `g_x`: bytes, the ephemeral
    key; `c_i`: bytes, the connection identifier; `ead`: a tuple of Ead, without padding.
    """

    __slots__ = ()
    KIND = "message_1"


def _items(data: bytes) -> list[object]:
    return cbor.decode_sequence(data, MESSAGE_SIZE_MAX)


def encode_ead(items: "tuple[Ead, ...]") -> bytes:
    """EAD_x.  Raises ValueError for a label below 0, or padding that claims to be critical."""
    out = b""
    for item in items:
        if item.label < 0 or (item.label == PADDING and item.is_critical):
            raise ValueError("a label is 0 or more, and padding is never critical")
        out += cbor.encode(-item.label if item.is_critical else item.label)
        if item.value is not None:
            out += cbor.encode(item.value)
    return out


def decode_ead(items: list[object]) -> "tuple[Ead, ...]":
    """The items of EAD_x, padding left out.  Raises DecodeError for anything else in their place."""
    out = []
    at = 0
    while at < len(items):
        label = items[at]
        if not isinstance(label, int) or isinstance(label, bool):
            raise DecodeError("an EAD item begins with its label, an integer")
        at += 1
        value = None
        if at < len(items) and isinstance(items[at], bytes):
            value = items[at]
            at += 1
        if label != PADDING:
            out.append(Ead(abs(label), value, label < 0))
    return tuple(out)


def encode_suites(numbers: "tuple[int, ...]") -> bytes:
    """SUITES_x: one suite is an integer, several are an array.  Source: RFC 9528, section 5.2.1."""
    return cbor.encode(numbers[0] if len(numbers) == 1 else list(numbers))


def decode_suites(item: object) -> "tuple[int, ...]":
    """The suites of a decoded SUITES_x.  Raises DecodeError for another type or spelling."""
    if isinstance(item, int) and not isinstance(item, bool):
        return (item,)
    if not isinstance(item, list) or not 2 <= len(item) <= SUITES_MAX:
        raise DecodeError("suites are one integer, or an array of two or more")
    for number in item:
        if not cbor.is_int(number):
            raise DecodeError("a suite is an integer")
    return tuple(item)


def encode_1(suites: "tuple[int, ...]", g_x: bytes, c_i: bytes, ead: bytes) -> bytes:
    """message_1; the last of `suites` is the selected one."""
    return cbor.encode(METHOD) + encode_suites(suites) + cbor.encode(g_x) + encode_id(c_i) + ead


def decode_1(data: bytes) -> Message1:
    """message_1, at no cost worth a cookie.  Raises DecodeError.

    Whether its suites and its key are any good is for the responder to say: an error may have to list suites.
    """
    items = _items(data)
    if len(items) < 4:
        raise DecodeError("message_1 has four items or more")
    if not cbor.is_int(items[0], METHOD, METHOD):
        raise DecodeError("the method is not 3; only static Diffie-Hellman keys on both sides are taken")
    suites = decode_suites(items[1])
    g_x = items[2]
    if not isinstance(g_x, bytes):
        raise DecodeError("G_X is not a byte string")
    return Message1(suites, suites[-1], g_x, decode_id(items[3]), decode_ead(items[4:]))


def decode_bytes(data: bytes) -> bytes:
    """The one byte string that message_2, 3 or 4 is.  Raises DecodeError for anything else."""
    items = _items(data)
    if len(items) != 1 or not isinstance(items[0], bytes):
        raise DecodeError("the message is not one byte string")
    return items[0]


def decode_plaintext(plaintext: bytes, has_id: bool) -> "tuple[bytes, object, bytes, tuple[Ead, ...]]":
    """(C_R, ID_CRED_x, MAC_x, EAD_x) of PLAINTEXT_2 or, without C_R (`has_id` False), of PLAINTEXT_3.

    Raises DecodeError.
    """
    items = _items(plaintext)
    start = 1 if has_id else 0
    if len(items) < start + 2:
        raise DecodeError("the plaintext has too few items")
    connection = decode_id(items[0]) if has_id else b""
    mac = items[start + 1]
    if not isinstance(mac, bytes) or len(mac) != MAC_BYTES:
        raise DecodeError(f"the MAC is not {MAC_BYTES} bytes")
    return connection, items[start], mac, decode_ead(items[start + 2 :])


def decode_plaintext_4(plaintext: bytes) -> "tuple[Ead, ...]":
    """EAD_4.  Raises DecodeError."""
    return decode_ead(_items(plaintext))


# Errors


def encode_error(code: int, info: object) -> bytes:
    """An error message; `info` is text (1), suites (2) or True (3)."""
    return sequence(code, info)


def decode_error(data: bytes) -> "tuple[int, tuple[int, ...]] | None":
    """(ERR_CODE, the peer's suites if the code is 2) of an error message; None when `data` is none."""
    try:
        items = _items(data)
        if len(items) != 2 or not isinstance(items[0], int) or isinstance(items[0], bool) or items[0] == 0:
            return None
        return items[0], decode_suites(items[1]) if items[0] == WRONG_SUITE else ()
    except DecodeError:
        return None
