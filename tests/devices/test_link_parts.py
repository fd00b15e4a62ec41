"""The parts of a device's link: frames, sealed messages, requests, settings, log, provisioning file."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.micropython import advert, commands
from devices.micropython.channel import Channel
from devices.micropython.commands import MESSAGE_BYTES_MAX
from devices.micropython.device_keys import Keys
from devices.micropython.errors import CommandError, FrameError, ProvisionError, SealError, SettingError
from devices.micropython.flash import Flash
from devices.micropython.link_frame import FRAME_BYTES_MIN, Joiner, Splitter, cut_frame
from devices.micropython.log_ring import ERROR, INFO, Log
from devices.micropython.provision import Provision, decode
from devices.micropython.settings import Settings
from puf.errors import DecodeError
from puf.fast_path_keys import EPOCH_MAX, Pairing
from tests.devices.boards import Board, Random
from tests.devices.small_role import SETTINGS
from tests.puf.flash import Flash as FailingFlash
from tests.puf.flash import PowerCut

# Frames


def test_a_message_of_one_frame_and_of_two_on_the_wire() -> None:
    splitter = Splitter()
    assert [frame.hex() for frame in splitter.split(b"hello", 20)] == ["8007000568656c6c6f"]
    frames = splitter.split(bytes(range(20)), 20)
    assert [frame.hex() for frame in frames] == [
        "81120014000102030405060708090a0b0c0d0e0f",
        "020410111213",
    ]


@given(
    st.lists(st.binary(min_size=1, max_size=MESSAGE_BYTES_MAX), max_size=6),
    st.integers(FRAME_BYTES_MIN, 512),
)
def test_messages_come_out_as_they_went_in_through_any_frame_size(messages: list[bytes], size: int) -> None:
    splitter, joiner = Splitter(), Joiner()
    out = []
    for message in messages:
        for frame in splitter.split(message, size):
            assert len(frame) <= min(size, 244)
            out.append(joiner.join(frame))
    assert [message for message in out if message is not None] == messages


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4))
def test_frames_that_were_appended_to_one_another_are_cut_apart(messages: list[bytes]) -> None:
    splitter, joiner = Splitter(), Joiner()
    rest = b"".join(frame for message in messages for frame in splitter.split(message, 20))
    out = []
    while rest:
        frame, rest = cut_frame(rest)
        out.append(joiner.join(frame))
    assert [message for message in out if message is not None] == messages


@pytest.mark.parametrize("garbage", ["", "80", "8001", "80016162", "800300016161"])
def test_garbage_behind_frames_hides_no_frame_of_others(garbage: str) -> None:
    whole = Splitter().split(b"hello", 20)[0]
    assert cut_frame(bytes.fromhex(garbage)) == (b"", b"")
    assert cut_frame(whole) == (whole, b"")
    if garbage:
        assert cut_frame(whole + bytes.fromhex(garbage)) == (b"", b"")


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_frame_that_is_lost_repeated_or_out_of_its_turn_is_found(
    message: bytes, data: st.DataObject
) -> None:
    splitter = Splitter()
    frames = splitter.split(message, 20)
    at = data.draw(st.integers(0, len(frames) - 1))
    kind = data.draw(st.sampled_from(["lost", "repeated", "swapped"]))
    if kind == "lost":
        frames = frames[:at] + frames[at + 1 :] + splitter.split(b"next", 20)
    elif kind == "repeated":
        frames.insert(at, frames[at])
    else:
        frames = [*frames[at:], *frames[:at], *frames[at : at + 1]]
    joiner = Joiner()
    with pytest.raises(FrameError):  # noqa: PT012 - whichever of them
        for frame in frames:
            joiner.join(frame)
    with pytest.raises(FrameError):
        joiner.join(Splitter().split(b"again", 20)[0])


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_garbage_of_frames_gives_one_declared_error(frames: list[bytes]) -> None:
    joiner = Joiner()
    try:
        for frame in frames:
            joiner.join(frame)
    except FrameError:
        pass


def test_a_message_too_long_or_empty_is_neither_sent_nor_taken() -> None:
    for message, size in ((b"", 20), (bytes(MESSAGE_BYTES_MAX + 1), 20), (b"x", 19)):
        with pytest.raises(ValueError, match="cannot be sent"):
            Splitter().split(message, size)
    for head in ("8002ffff", "800304b100", "80020000", "80", "8001", ""):
        with pytest.raises(FrameError):
            Joiner().join(bytes.fromhex(head))


# Sealed messages


def test_a_sealed_message_as_others_would_seal_it() -> None:
    ours = Channel(b"\x01" * 16, b"\x02" * 16)
    theirs = Channel(b"\x02" * 16, b"\x01" * 16)
    first, second = ours.seal(b"\x81\x01"), ours.seal(b"\x81\x01")
    # AESCCM of PyPI's cryptography with the count as nonce.
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    assert first == AESCCM(b"\x01" * 16, 8).encrypt(bytes(13), b"\x81\x01", None)
    assert first.hex() == GOLDEN_SEALED
    assert second == AESCCM(b"\x01" * 16, 8).encrypt(bytes(12) + b"\x01", b"\x81\x01", None)
    assert [theirs.open(first), theirs.open(second)] == [b"\x81\x01"] * 2
    assert ours.open(theirs.seal(b"")) == b""


GOLDEN_SEALED = "4843b32d4b3a7b8638d4"


@pytest.mark.parametrize("wrong", ["repeated", "skipped", "reflected", "flipped", "cut"])
def test_what_is_not_the_next_message_does_not_open_nor_does_any_after_it(wrong: str) -> None:
    ours, theirs = Channel(b"a" * 16, b"b" * 16), Channel(b"b" * 16, b"a" * 16)
    first = ours.seal(b"first")
    if wrong == "repeated":
        theirs.open(first)
    bad = {
        "repeated": first,
        "skipped": ours.seal(b"second"),
        "reflected": theirs.seal(b"theirs"),
        "flipped": bytes([first[0] ^ 1]) + first[1:],
        "cut": first[:7],
    }[wrong]
    with pytest.raises(SealError, match="did not open"):
        theirs.open(bad)
    with pytest.raises(SealError, match="over"):
        theirs.open(first)


def test_a_channel_shows_no_key_and_refuses_what_is_too_long() -> None:
    channel = Channel(b"secretsecretsecr", b"s" * 16)
    assert "secret" not in repr(channel)
    assert len(channel.seal(bytes(MESSAGE_BYTES_MAX - 8))) == MESSAGE_BYTES_MAX
    with pytest.raises(ValueError, match="more than"):
        channel.seal(bytes(MESSAGE_BYTES_MAX - 7))


# Requests


def test_requests_and_answers_on_the_wire() -> None:
    golden = {
        commands.request(commands.STATUS): "8101",
        commands.request(commands.TIME): "8102",
        commands.request(commands.GRANT, 1, b"\xd1"): "83030141d1",
        commands.request(commands.LOG, 300): "820419012c",
        commands.request(commands.SETTINGS, {"a": 1}): "8205a1616101",
        commands.request(commands.OTA, b"x"): "82064178",
        commands.request(commands.REBOOT): "8107",
        commands.request(commands.GRANT_KEY, 2): "820802",
        commands.answer(commands.GRANT, 6): "820306",
        commands.answer(commands.GRANT_KEY, 0, 2, b"k"): "8408000241" + "6b",
        commands.last_word(commands.BUSY): "820501",
    }
    assert {data.hex(): text for data, text in golden.items()} == {text: text for text in golden.values()}
    assert commands.parse_request(bytes.fromhex("83030141d1")) == (3, [1, b"\xd1"])
    assert commands.parse_answer(bytes.fromhex("8308000a"), 8) == (0, [10])


@pytest.mark.parametrize(
    ("data", "command", "reason"),
    [
        ("", 0, 32),
        ("80", 0, 32),
        ("a0", 0, 32),
        ("81f5", 0, 32),
        ("8118ff", 255, 33),
        ("8120", 0, 33),
        ("820101", 1, 32),
        ("8303f541d1", 3, 32),
        ("82044100", 4, 32),
        ("820880", 8, 32),
    ],
)
def test_a_request_that_is_none_is_refused_with_its_reason(data: str, command: int, reason: int) -> None:
    with pytest.raises(CommandError) as refused:
        commands.parse_request(bytes.fromhex(data))
    assert (refused.value.command, refused.value.reason) == (command, reason)


@given(st.binary(max_size=60))
def test_garbage_is_no_request_and_no_answer(data: bytes) -> None:
    with contextlib.suppress(CommandError):
        commands.parse_request(data)
    with contextlib.suppress(DecodeError):
        commands.parse_answer(data, 1)
    assert commands.parse_last_word(data) in (None, *range(1, 8))


# Settings, log, flash


def test_settings_are_kept_whole_or_not_at_all_and_their_limits_hold() -> None:
    flash = FailingFlash()
    settings = Settings(flash, b"k" * 32, SETTINGS, {"raise_ms": 3_000, "site": "a" * 17, "other": 1})
    assert settings.all() == {"raise_ms": 3_000, "site": ""}
    settings.change({"raise_ms": 2_000, "site": "north"})
    for bad in (
        {"raise_ms": 999},
        {"raise_ms": True},
        {"raise_ms": "x"},
        {"site": "ä" * 9},
        {"x": 1},
        {1: 1},
    ):
        with pytest.raises(SettingError):
            settings.change({"site": "south", **bad})  # type: ignore[dict-item]
    for keep in (0, 9, 1000):
        flash.cut(0, keep)
        with pytest.raises(PowerCut):
            settings.change({"raise_ms": 9_000, "site": "west"})
        settings = Settings(flash, b"k" * 32, SETTINGS)
        whole = {"raise_ms": 9_000, "site": "west"} if keep == 1000 else {"raise_ms": 2_000, "site": "north"}
        assert settings.all() == whole
    # Another firmware, which has fewer, and is rolled back.
    other = Settings(flash, b"k" * 32, {"site": SETTINGS["site"]})
    other.change({"site": "east"})
    assert Settings(flash, b"k" * 32, SETTINGS).all() == {"raise_ms": 9_000, "site": "east"}
    assert Settings(flash, b"j" * 32, SETTINGS).all() == {"raise_ms": 4_000, "site": ""}
    many: dict[str, tuple[int | str, int | None, int]] = {f"text{at}": ("", None, 400) for at in range(3)}
    full = Settings(FailingFlash(), b"k" * 32, many)
    with pytest.raises(SettingError, match="512 bytes in all"):
        full.change({"text0": "a" * 400, "text1": "b" * 400})
    assert full.get("text0") == ""


def test_the_log_keeps_the_last_bytes_and_says_where_they_begin() -> None:
    said: list[str] = []
    log = Log(64, lambda: 12, said.append)
    log.write(INFO, "first")
    log.write(ERROR, "two\nlines")
    assert said == ["I 12 first", "E 12 two lines"]
    assert log.read(0, 100) == (0, b"I 12 first\nE 12 two lines\n", 26)
    assert log.read(11, 4) == (11, b"E 12", 15)
    assert log.read(26, 100) == (26, b"", 26)
    assert log.read(1 << 40, 100) == (26, b"", 26)
    assert log.read(-5, 1) == (0, b"I", 1)
    for number in range(50):
        log.write(INFO, f"line {number}")
    first, data, after = log.read(0, 1000)
    assert (len(data), after - first) == (64, 64)
    assert data.endswith(b"\nI 12 line 48\nI 12 line 49\n")
    log.write(INFO, "x" * 500)
    assert log.read(0, 1000)[1] == b"x" * 63 + b"\n"


def test_notes_lie_in_two_files_of_a_folder(tmp_path: object) -> None:
    flash = Flash(f"{tmp_path}/notes")
    slots = Flash(f"{tmp_path}/notes").slots("a")
    assert [slots.read(0), slots.read(1)] == [b"", b""]
    slots.write(1, b"one")
    assert [slots.read(0), flash.slots("a").read(1), flash.slots("b").read(1)] == [b"", b"one", b""]
    slots.write(1, b"")
    assert slots.read(1) == b""
    with pytest.raises(OSError, match="No such file"):
        Flash(f"{tmp_path}/no/folder").slots("a").write(0, b"x")


# Provisioning and keys


def provision() -> Provision:
    return Provision(
        *(
            "lock",
            "lock1",
            b"helper",
            b"g" * 32,
            b"d" * 32,
            b"s" * 32,
            b"p" * 32,
            b"cg",
            b"cd",
            {"raise_ms": 1},
        )
    )


def test_a_provisioning_file_comes_back_and_every_damage_to_its_form_is_an_error() -> None:
    data = provision().encode()
    assert data.hex().startswith("8c6d6370632f70726f766973696f6e01646c6f636b")
    assert decode(data) == provision()
    assert decode(provision()._replace(publisher=b"").encode()).publisher == b""
    bads: tuple[dict[str, object], ...] = (
        {"gateway": b"g" * 31},
        {"publisher": b"p"},
        {"device_ccs": b""},
        {"name": b"x"},
        {"settings": []},
    )
    for bad in bads:
        with pytest.raises(ProvisionError):
            decode(provision()._replace(**bad).encode())
    for size in range(len(data)):
        with pytest.raises(ProvisionError):
            decode(data[:size])
    for at in range(16):
        with pytest.raises(ProvisionError):
            decode(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])


@given(st.binary(max_size=60))
def test_garbage_is_no_provisioning_file(data: bytes) -> None:
    with pytest.raises(ProvisionError):
        decode(data)


def test_a_device_shows_no_key_and_forgets_no_epoch() -> None:
    board = Board()
    assert repr(board.keys) == f"Keys('lock1', {'44' * 32}, Pairing({'47' * 32}, {'44' * 32}, epoch=0))"
    assert (board.keys.grant_epoch, board.keys.doorkeeper) == (-1, None)
    third = board.keys.grant_key(3)
    assert (board.keys.grant_key(3), board.keys.grant_epoch) == (third, 3)
    with pytest.raises(ValueError, match="not after"):
        board.keys.grant_key(2)
    assert board.keys.grant_key(4) != third
    again = Keys(b"r" * 32, 0x50000000, board.provision, board.flash, board.random)  # type: ignore[arg-type]
    assert again.grant_epoch == 4
    other_region = Keys(b"r" * 32, 0x500002A0, board.provision, board.flash, board.random)  # type: ignore[arg-type]
    assert other_region.grant_epoch == -1


def test_what_a_device_keeps_in_flash_shows_no_key_and_is_nothing_to_another_chip() -> None:
    board = Board()
    pairing = Pairing(board.keys.gateway, board.keys.me, bytes(range(32)), 7)
    board.keys.keep(pairing)
    kept = b"".join(slot for note in board.flash.notes.values() for slot in note.slots)
    assert kept
    assert pairing.key not in kept
    again = Keys(b"r" * 32, 0x50000000, board.provision, board.flash, board.random)  # type: ignore[arg-type]
    assert again.pairing.encode() == pairing.encode()
    other = Keys(b"x" * 32, 0x50000000, board.provision, board.flash, board.random)  # type: ignore[arg-type]
    assert other.pairing.epoch == 0


# Advertisements


def test_only_who_keeps_the_pairing_knows_an_advertisement_and_the_next_one_looks_like_another_device() -> (
    None
):
    pairing = Pairing(b"gateway", b"lock", bytes(range(32)))
    said = advert.hint(pairing, b"\x01\x02")
    assert said.hex() == GOLDEN_HINT
    payload = advert.payload(said)
    assert payload.hex() == "02010611" + "0764656b636f6c9d8a634c50430100c7c9" + "07ffffff" + GOLDEN_HINT
    assert len(payload) == 29
    # The gateway is at the same epoch, or one further; not elsewhere.
    assert advert.is_of(pairing, said)
    assert advert.is_of(pairing.following(), said)
    assert not advert.is_of(pairing.following().following(), said)
    others = [Pairing(b"gateway", b"other", bytes([at]) * 32) for at in range(200)]
    assert not any(advert.is_of(other, said) for other in others)
    salts = Random(3)
    hints = {advert.hint(pairing, salts(2))[2:] for _ in range(50)}
    assert len(hints) > 45
    for bad in (b"", said[:3], said + b"\x00"):
        assert not advert.is_of(pairing, bad)
    last = Pairing(b"gateway", b"lock", bytes(32), EPOCH_MAX)
    assert advert.is_of(last, advert.hint(last, b"ab"))


GOLDEN_HINT = "01028e51"


# The documentation


def test_the_documentation_of_the_service_says_what_the_code_does() -> None:
    text = (Path(advert.__file__).parent / "GATT.md").read_text()
    for uuid in (advert.SERVICE, advert.IN, advert.OUT, advert.INFO):
        assert f"`{uuid}`" in text
    names = ("STATUS", "TIME", "GRANT", "LOG", "SETTINGS", "OTA", "REBOOT", "GRANT_KEY")
    for name in names:
        assert f"| {getattr(commands, name)} {name} |" in text
    for reason in range(commands.FORMAT_WRONG, commands.FAULT + 1):
        assert f"\n| {reason} |" in text
    frame = Splitter().split(b"hello", 20)[0]
    assert f"`{frame.hex(' ')}`" in text
    assert f"`{commands.request(commands.GRANT, 1, bytes([0xD1])).hex(' ')}`" in text
    for number in range(commands.BUSY, commands.FAILED + 1):
        assert re.search(rf"[:;] {number} [a-z]", text[text.index("Last words:") :])
