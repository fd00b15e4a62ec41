"""What a publisher signs about firmware: held against a foreign COSE library, golden bytes and garbage."""

import hashlib
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from devices.firmware_pack import Update, make_list, pack, parse
from devices.micropython import ota_manifest
from devices.micropython.errors import FirmwareError
from devices.micropython.ota_manifest import Entry, Firmware, entry_size, open_signed, parse_entry, sign
from puf import cbor, cose
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, SignatureError

KEY = SigningKey(b"publisher".ljust(32, b"."))
FILES = {"main.mpy": b"M\x06\x00\x1fone", "puf/a.mpy": b"M\x06\x00\x1ftwo", "boards/x.json": b"{}"}
UPDATE = pack(FILES, KEY, "lock", 7, minimum=3, board="esp32")
REFUSED = (DecodeError, FirmwareError, SignatureError)


def test_a_statement_keeps_its_bytes() -> None:
    """Golden: boards in the field read it.  To change it is a line in CHANGELOG.md."""
    assert UPDATE.statement.hex() == (
        "d2845834a30127045820c26756b736867fc7d68a7faa296393c12d33d49ed833fb884f34a06019cc0fac106c6370632f"
        "6669726d77617265a058378b01646c6f636b65657370333207030106f4188d58201feca8cb2ab2e6b8a8c4e6e990ea08"
        "39940d994c671fe2d6378a64d7d742e8f61058401e8eff8e3c129f3ecc96dbbf3388fed7219dbd44c8a18d227d60240e"
        "67dd4128d4a061671d500d91b65ece8a4809fb5cec481c2c7177da5befbecab323367b0d"
    )


def test_a_foreign_cose_library_agrees_with_the_signature_and_a_foreign_cbor_with_the_content() -> None:
    # pycose's own decode expects a list and a dict where cbor2 6 gives immutable ones: it gets the parts.
    protected, unprotected, payload, signature = cbor2.loads(UPDATE.statement).value
    message: Any = Sign1Message.from_cose_obj([protected, dict(unprotected), payload, signature], True)
    message.key = OKPKey(crv="ED25519", x=KEY.public)
    assert message.verify_signature()
    listed = cbor2.dumps(["boards/x.json", 2, hashlib.sha256(b"{}").digest()])
    listed += cbor2.dumps(["main.mpy", 7, hashlib.sha256(FILES["main.mpy"]).digest()])
    listed += cbor2.dumps(["puf/a.mpy", 7, hashlib.sha256(FILES["puf/a.mpy"]).digest()])
    assert list(cbor2.loads(message.payload)) == [
        *(1, "lock", "esp32", 7, 3, 1, 6, False),
        *(len(listed), hashlib.sha256(listed).digest(), 16),
    ]
    assert UPDATE.stream == listed + b"{}" + FILES["main.mpy"] + FILES["puf/a.mpy"]


def test_what_was_packed_is_parsed_again() -> None:
    assert parse(UPDATE.encode()) == UPDATE
    assert open_signed(UPDATE.statement, KEY.public) == UPDATE.firmware
    assert [entry.path for entry in UPDATE.entries] == ["boards/x.json", "main.mpy", "puf/a.mpy"]
    assert UPDATE.firmware == Firmware("lock", "esp32", 7, 3, 1, 6, False, *(UPDATE.firmware[7:]))


def test_another_publisher_is_refused_before_any_curve_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bool:
        raise AssertionError("a curve was used")

    monkeypatch.setattr("puf.ed25519.verify", never)
    with pytest.raises(SignatureError, match="not by the publisher"):
        open_signed(UPDATE.statement, bytes(32))


def test_each_single_flipped_bit_and_each_truncation_of_a_statement_is_refused() -> None:
    good = UPDATE.statement
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(REFUSED):
            open_signed(bytes(bad), KEY.public)
    for end in range(len(good)):
        with pytest.raises(REFUSED):
            open_signed(good[:end], KEY.public)
    with pytest.raises(REFUSED):
        open_signed(good + b"\0", KEY.public)


def test_each_single_flipped_bit_and_each_truncation_of_an_update_is_refused() -> None:
    good = UPDATE.encode()
    begin = len(good) - len(UPDATE.stream)
    for bit in range(8 * begin, 8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(REFUSED):
            parse(bytes(bad))
    for end in range(len(good)):
        with pytest.raises(REFUSED):
            parse(good[:end])


@given(st.binary(max_size=500))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    for read in (lambda: open_signed(data, KEY.public), lambda: parse(data), lambda: parse_entry(data, "")):
        with pytest.raises(REFUSED):
            read()
    assert 0 <= entry_size(data) <= len(data)


VALUES: tuple[st.SearchStrategy[Any], ...] = (
    *(st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=20)),
    *(st.binary(max_size=40), st.just([]), st.just({})),
)


@given(st.lists(st.one_of(*VALUES), max_size=13), st.integers(0, 11), st.one_of(*VALUES))
def test_a_signed_payload_of_another_form_is_refused(items: list[object], at: int, value: object) -> None:
    changed: list[object] = [1, *UPDATE.firmware]
    changed[min(at, 10)] = value
    for payload in (items, changed):
        statement = cose.sign1(ota_manifest.TYP, cbor.encode(payload), KEY)
        try:
            firmware = open_signed(statement, KEY.public)
        except REFUSED:
            continue
        # A value of the right type in its place.
        assert cbor.encode([1, *firmware]) == cbor.encode(payload)
        assert sign(firmware, KEY) == statement


def test_a_statement_of_another_type_is_refused() -> None:
    payload = cose.open1(UPDATE.statement, ota_manifest.TYP).payload
    with pytest.raises(DecodeError, match="cpc/tx"):
        open_signed(cose.sign1("cpc/tx", payload, KEY), KEY.public)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".",
        "a/.b",
        "slot",
        "manifest",
        "a b",
        "a\0",
        "ä",
        "A",
        "a" * 65,
        "a\\b",
        "a/" + "b" * 63,
    ],
)
def test_a_path_that_leaves_its_slot_or_has_two_spellings_is_no_path(path: str) -> None:
    assert not ota_manifest.is_path(path)
    with pytest.raises(FirmwareError):
        make_list({path: b""})
    with pytest.raises(FirmwareError):
        parse_entry(cbor.encode([path, 0, bytes(32)]), "")


def test_an_item_of_the_list_has_the_size_that_its_cbor_has() -> None:
    for path in ("a", "a" * 23, "a" * 24, "a" * 64):
        for size in (0, 23, 24, 255, 256, 65_535, 65_536, 1 << 18):
            item = cbor.encode([path, size, bytes(32)])
            assert entry_size(item + b"\x83\x61a") == len(item)
            assert entry_size(item[:-1]) == 0
            assert parse_entry(item, "") == Entry(path, size, bytes(32))
            with pytest.raises(FirmwareError, match="sorted"):
                parse_entry(item, path)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"minimum": 8}, "minimum not above"),
        ({"board": "ESP32"}, "small letters"),
        ({"board": "x" * 33}, "small letters"),
        ({"loader": -1}, "32 bits"),
    ],
)
def test_what_no_board_would_take_is_not_signed(options: dict[str, Any], what: str) -> None:
    with pytest.raises(FirmwareError, match=what):
        pack(FILES, KEY, "lock", 7, **options)
    for role, version in (("lock", 0), ("", 1), ("r" * 17, 1)):
        with pytest.raises(FirmwareError):
            pack(FILES, KEY, role, version)
    with pytest.raises(FirmwareError, match="several versions of bytecode"):
        pack(FILES | {"b.mpy": b"M\x05"}, KEY, "lock", 7)
    with pytest.raises(FirmwareError, match="at most"):
        pack({f"{number}.bin": bytes(1 << 17) for number in range(9)}, KEY, "lock", 7)
    with pytest.raises(FirmwareError, match="at most"):
        pack({"big.bin": bytes((1 << 18) + 1)}, KEY, "lock", 7)


def test_a_list_that_does_not_cover_the_content_is_refused() -> None:
    content = b"".join(content for _, content in sorted(FILES.items()))
    listed = make_list(FILES)
    for stream_list, extra in ((make_list({"main.mpy": FILES["main.mpy"]}), b""), (listed, b"more")):
        firmware = Firmware(
            *("lock", "any", 1, 1, 1, 0, False),
            *(len(stream_list), hashlib.sha256(stream_list).digest(), len(content + extra)),
        )
        update = Update(sign(firmware, KEY), firmware, (), stream_list + content + extra)
        with pytest.raises(FirmwareError):
            parse(update.encode())
