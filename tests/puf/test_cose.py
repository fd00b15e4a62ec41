"""Statements that a foreign COSE library accepts, and every statement that must not be accepted."""

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.algorithms import EdDSA
from pycose.headers import KID, Algorithm
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from puf import cbor, cose
from puf.cbor import Tag
from puf.ed25519 import SigningKey, verify
from puf.errors import DecodeError, SignatureError

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))

# The wire format.  Changing it is a line in CHANGELOG.md.
GOLDEN = (
    "d284"  # tag 18, array of 4
    "582e"  # the protected header, 46 bytes:
    "a3"
    "0127"  # algorithm: EdDSA
    "0458203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"  # key id
    "10666370632f7478"  # type: "cpc/tx"
    "a0"  # the unprotected header
    "426869"  # payload: "hi"
    "5840"  # signature, 64 bytes:
    "a8f4f1b8ab8a2da6e0e9fbb0c3b32b586bb3eba9fc96903cc75a90e10085a5aba05eaa1538945c06f001913d4345ad958b88ef030f11d5e78fd98abb2743fb06"
)


def _statement(
    header: object = None,
    unprotected: object = None,
    payload: object = b"hi",
    signature: object = None,
    tag: int = 18,
    key: SigningKey = KEY,
) -> bytes:
    """A statement with one part replaced, signed as it stands."""
    protected = cbor.encode({1: -8, 4: key.public, 16: "cpc/tx"}) if header is None else header
    if not isinstance(protected, bytes):
        protected = cbor.encode(protected)
    if signature is None:
        signature = key.sign(cbor.encode(["Signature1", protected, b"", payload]))
    return cbor.encode(Tag(tag, [protected, {} if unprotected is None else unprotected, payload, signature]))


def test_the_wire_format_is_golden() -> None:
    assert cose.sign1("cpc/tx", b"hi", OTHER).hex() == GOLDEN
    parsed = cose.parse1(bytes.fromhex(GOLDEN), "cpc/tx")
    assert (parsed.kid, parsed.typ, parsed.payload) == (OTHER.public, "cpc/tx", b"hi")
    assert parsed.message == cose.sig_structure("cpc/tx", OTHER.public, b"hi")
    assert parsed.signature.hex() == GOLDEN[-128:]
    signed = cose.open1(bytes.fromhex(GOLDEN), "cpc/tx")
    assert (signed.kid, signed.typ, signed.payload) == (OTHER.public, "cpc/tx", b"hi")


def test_what_is_signed_is_golden() -> None:
    assert cose.sig_structure("cpc/vote", bytes(32), b"block", b"aad").hex() == (
        "84"
        "6a5369676e617475726531"
        "5830a3012704582000000000000000000000000000000000000000000000000000000000000000001068"
        "6370632f766f7465"
        "43616164"
        "45626c6f636b"
    )


@pytest.mark.parametrize("external_aad", [b"", b"chain 7"])
def test_a_foreign_library_verifies_our_statement(external_aad: bytes) -> None:
    data = cose.sign1("cpc/tx", b"payload", KEY, external_aad)
    # pycose's own decode expects a list and a dict where cbor2 6 gives immutable ones: it gets the parts.
    tag = cbor2.loads(data)
    protected, unprotected, payload, signature = tag.value
    parts = [protected, dict(unprotected), payload, signature]
    message: Any = Sign1Message.from_cose_obj(parts, allow_unknown_attributes=True)
    assert tag.tag == message.cbor_tag
    message.key = OKPKey(crv="ED25519", x=KEY.public)
    message.external_aad = external_aad
    assert message.phdr[Algorithm] is EdDSA
    assert message.phdr[KID] == KEY.public
    assert message.phdr[16] == "cpc/tx"
    assert message.payload == b"payload"
    assert message.verify_signature() is True
    message.key = OKPKey(crv="ED25519", x=OTHER.public)
    assert message.verify_signature() is False


def test_we_open_a_foreign_librarys_statement() -> None:
    header = {Algorithm: EdDSA, KID: KEY.public, 16: "cpc/tx"}
    message: Any = Sign1Message(phdr=header, payload=b"theirs")
    message.key = OKPKey(crv="ED25519", x=KEY.public, d=KEY.seed)
    signed = cose.open1(message.encode(), "cpc/tx")
    assert (signed.kid, signed.payload) == (KEY.public, b"theirs")


@given(st.binary(max_size=200), st.text(max_size=20), st.binary(max_size=40))
@settings(deadline=None, max_examples=60)
def test_what_was_signed_opens(payload: bytes, typ: str, external_aad: bytes) -> None:
    data = cose.sign1(typ, payload, KEY, external_aad)
    assert cose.open1(data, typ, external_aad) == (KEY.public, typ, payload)
    with pytest.raises(DecodeError, match="type"):
        cose.open1(data, typ + "x", external_aad)
    with pytest.raises(SignatureError, match=KEY.public.hex()):
        cose.open1(data, typ, external_aad + b"x")


def test_a_signature_alone_suffices_for_whoever_has_the_statement() -> None:
    signature = cbor.decode(cose.sign1("cpc/vote", b"block", KEY)).value[3]  # type: ignore[attr-defined]
    assert verify(KEY.public, cose.sig_structure("cpc/vote", KEY.public, b"block"), signature)
    assert not verify(KEY.public, cose.sig_structure("cpc/tx", KEY.public, b"block"), signature)


HEADER: dict[int | str, object] = {1: -8, 4: KEY.public, 16: "cpc/tx"}
# (what the error says, the statement)
REFUSED: list[tuple[str, bytes]] = [
    ("not a COSE_Sign1", _statement(tag=17)),
    ("not a COSE_Sign1", _statement(tag=98)),
    ("not a COSE_Sign1", cbor.encode([b"", {}, b"", b""])),
    ("not a COSE_Sign1", cbor.encode(None)),
    ("array of four", cbor.encode(Tag(18, []))),
    ("array of four", cbor.encode(Tag(18, {}))),
    ("array of four", cbor.encode(Tag(18, [b"", {}, b"", b"", b""]))),
    ("protected header is not a byte string", cbor.encode(Tag(18, [{}, {}, b"", b""]))),
    ("protected header is not a map", _statement([])),
    ("in the protected header: byte 0", _statement(b"")),
    (
        "in the protected header: byte 2",
        _statement(cbor.encode(HEADER).replace(b"\x01\x27", b"\x01\x38\x07")),
    ),
    ("algorithm is -7", _statement({**HEADER, 1: -7})),
    ("algorithm is None", _statement({4: KEY.public, 16: "cpc/tx"})),
    ("algorithm is 'EdDSA'", _statement({**HEADER, 1: "EdDSA"})),
    ("algorithm is -19", _statement({**HEADER, 1: -19})),
    ("in the protected header: 257 bytes", _statement({**HEADER, 16: "x" * 216})),
    ("critical", _statement({**HEADER, 2: [99], 99: 0})),
    ("not exactly algorithm", _statement({**HEADER, 99: 0})),
    ("not exactly algorithm", _statement({**HEADER, "x": 0})),
    ("not exactly algorithm", _statement({**HEADER, 3: "text/plain"})),
    ("not exactly algorithm", _statement({**HEADER, 1: -8.0})),
    ("type 'cpc/vote', not 'cpc/tx'", _statement({**HEADER, 16: "cpc/vote"})),
    ("type None", _statement({1: -8, 4: KEY.public})),
    ("type b'cpc/tx'", _statement({**HEADER, 16: b"cpc/tx"})),
    ("type 0", _statement({**HEADER, 16: 0})),
    ("key id", _statement({1: -8, 16: "cpc/tx"})),
    ("key id", _statement({**HEADER, 4: KEY.public[:31]})),
    ("key id", _statement({**HEADER, 4: KEY.public.hex()})),
    ("unprotected header is not empty", _statement(unprotected={4: KEY.public})),
    ("unprotected header is not empty", _statement(unprotected=[])),
    ("unprotected header is not empty", _statement(unprotected=b"")),
    ("payload is detached", _statement(payload=None)),
    ("payload is not a byte string", _statement(payload="hi")),
    ("signature is 64 bytes", _statement(signature=bytes(63))),
    ("signature is 64 bytes", _statement(signature=bytes(65))),
    ("signature is 64 bytes", _statement(signature=None, payload=b"")[:-66] + b"\xf6"),
    ("the input ends", bytes.fromhex(GOLDEN)[:-1]),
    ("more follows", bytes.fromhex(GOLDEN) + b"\x00"),
    ("shortest", bytes.fromhex("d8128458" + GOLDEN[6:])),
    ("the input ends", b""),
]


def test_the_statement_that_the_refused_ones_vary_is_accepted() -> None:
    assert cose.open1(_statement(), "cpc/tx") == (KEY.public, "cpc/tx", b"hi")
    assert _statement(HEADER) == _statement() == cose.sign1("cpc/tx", b"hi", KEY)


@pytest.mark.parametrize(("reason", "data"), REFUSED)
def test_another_statement_is_refused_with_the_reason(reason: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match=reason.replace("(", r"\(")):
        cose.open1(data, "cpc/tx")


@pytest.mark.parametrize(
    "data",
    [
        _statement(signature=bytes(64)),
        _statement(signature=OTHER.sign(cose.sig_structure("cpc/tx", KEY.public, b"hi"))),
        _statement(signature=KEY.sign(b"hi")),
        _statement(signature=KEY.sign(cose.sig_structure("cpc/vote", KEY.public, b"hi"))),
        _statement(signature=KEY.sign(cose.sig_structure("cpc/tx", OTHER.public, b"hi"))),
        _statement({**HEADER, 4: bytes(32)}),
    ],
)
def test_a_signature_that_does_not_hold_is_its_own_error(data: bytes) -> None:
    with pytest.raises(SignatureError, match="cpc/tx"):
        cose.open1(data, "cpc/tx")


@pytest.mark.parametrize("bit", range(0, len(GOLDEN) * 4, 5))
def test_one_flipped_bit_anywhere_is_noticed(bit: int) -> None:
    data = bytearray.fromhex(GOLDEN)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((DecodeError, SignatureError)):
        cose.open1(bytes(data), "cpc/tx")


def test_a_statement_over_the_limit_is_refused_unread() -> None:
    data = cose.sign1("cpc/tx", bytes(1000), KEY)
    assert cose.open1(data, "cpc/tx", size_max=len(data)).payload == bytes(1000)
    with pytest.raises(DecodeError, match=f"{len(data)} bytes, at most {len(data) - 1}"):
        cose.open1(data, "cpc/tx", size_max=len(data) - 1)


def test_a_type_is_a_short_name() -> None:
    longest = "x" * 215
    assert cose.open1(cose.sign1(longest, b"", KEY), longest).typ == longest
    with pytest.raises(ValueError, match="short name"):
        cose.sign1(longest + "x", b"", KEY)
    with pytest.raises(ValueError, match="short name"):
        cose.sig_structure(longest + "x", KEY.public, b"")


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    for candidate in (data, b"\xd2\x84" + data, bytes.fromhex(GOLDEN)[:51] + data):
        with pytest.raises((DecodeError, SignatureError)):
            cose.open1(candidate, "cpc/tx")


def test_no_error_shows_a_secret() -> None:
    for _, data in REFUSED:
        with pytest.raises(DecodeError) as caught:
            cose.open1(data, "cpc/tx")
        assert KEY.seed.hex() not in str(caught.value)


@given(
    st.binary(max_size=300),
    st.binary(max_size=4),
    st.lists(st.tuples(st.sampled_from(["set", "insert", "delete"]), st.integers(0), st.integers(0, 255))),
)
@settings(deadline=None)
def test_reading_by_places_and_part_by_part_take_the_same_statements(
    payload: bytes, aad: bytes, damages: list[tuple[str, int, int]]
) -> None:
    data = bytearray(cose.sign1("cpc/tx", payload, KEY, aad))
    for damage, place, byte in damages:
        at = place % len(data)
        data[at : at + (damage != "insert")] = b"" if damage == "delete" else bytes((byte,))
    exact = cose._exact(bytes(data), "cpc/tx", aad, 400)
    try:
        explained = cose._explained(bytes(data), "cpc/tx", aad, 400)
    except DecodeError:
        assert exact is None
    else:
        assert exact == explained
        assert exact.payload == payload or damages
