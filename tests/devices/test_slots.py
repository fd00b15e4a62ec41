"""Which slot of firmware starts: told as stories, and held against damage of every byte."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.firmware_build import write_tree
from devices.firmware_pack import make_list
from devices.micropython import boot_state, slots
from devices.micropython.slots import NONE, Marker, Slots, State
from puf import cbor

FILES = {1: {"main.mpy": b"one", "puf/a.mpy": b"same"}, 2: {"main.mpy": b"two" * 400, "puf/a.mpy": b"same"}}


def marker(version: int, minimum: int = 0) -> Marker:
    return Marker(version, minimum, hashlib.sha256(make_list(FILES[version])).digest(), b"lock")


def fill(root: Path, slot: int, version: int, minimum: int = 0) -> None:
    write_tree(root / slots.NAMES[slot], FILES[version])
    (root / slots.NAMES[slot] / "slot").write_bytes(marker(version, minimum).encode())


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    """Version 1 runs in slot a."""
    fill(tmp_path, 0, 1)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "slots.1").write_bytes(slots.encode_state(State(1, 0, NONE, 0, 0, 0)))
    return tmp_path


def opened(flash: Path) -> Slots:
    return Slots(f"{flash}/")


def told(flash: Path, story: str) -> list[str]:
    """Words of a story -> what followed from each."""
    trace = []
    for word in story.split():
        made = opened(flash)
        if word == "start":
            chosen = made.choose()
            trace.append("none" if chosen == NONE else slots.NAMES[chosen])
        elif word == "stage":
            fill(flash, 1, 2)
            made.stage(1, marker(2))
            trace.append("staged")
        elif word == "confirm":
            trace.append("kept" if made.confirm() else "no trial")
        elif word == "spoil-a":
            (flash / "a" / "main.mpy").write_bytes(b"onf")
            trace.append("spoilt")
        elif word == "spoil-b":
            (flash / "b" / "main.mpy").write_bytes(b"")
            trace.append("spoilt")
        elif word == "lose-notes":
            for path in (flash / "notes").iterdir():
                path.write_bytes(b"\xff" * 40)
            trace.append("lost")
    return trace


@pytest.mark.parametrize(
    ("story", "trace"),
    [
        ("start start", "a a"),
        ("stage start confirm start", "staged b kept b"),
        # Three starts without a word, and the fourth is the old one.
        ("stage start start start start start", "staged b b b a a"),
        ("stage start start start confirm start", "staged b b b kept b"),
        # Staged is not started: nobody can confirm it, and nothing confirms what runs for good.
        ("stage confirm start", "staged no trial b"),
        ("confirm start", "no trial a"),
        ("stage spoil-b start start", "staged spoilt a a"),
        ("stage start confirm spoil-b start", "staged b kept spoilt a"),
        ("spoil-a start", "spoilt none"),
        ("stage start start start spoil-a start", "staged b b b spoilt b"),
        ("stage start confirm lose-notes start", "staged b kept lost b"),
        ("lose-notes start", "lost a"),
        ("stage lose-notes start start", "staged lost b b"),
    ],
)
def test_a_story_of_starts(flash: Path, story: str, trace: str) -> None:
    assert " ".join(told(flash, story)) == trace


def test_a_rollback_says_which_version_failed_and_a_confirmation_raises_the_floor(flash: Path) -> None:
    told(flash, "stage start start start start")
    assert opened(flash).state == State(6, 0, NONE, 0, 0, 2)
    fill(flash, 1, 2, minimum=2)
    opened(flash).stage(1, marker(2, 2))
    told(flash, "start confirm")
    assert opened(flash).state == State(9, 1, NONE, 0, 2, 0)


def test_a_slot_that_is_cleared_cannot_start_even_when_it_was_staged(flash: Path) -> None:
    told(flash, "stage")
    opened(flash).clear(1)
    assert opened(flash).state == State(3, 0, NONE, 0, 0, 0)
    assert opened(flash).marker(1) is None
    assert told(flash, "start") == ["a"]


def test_a_wake_up_from_sleep_looks_at_the_marker_only_and_a_trial_always_at_everything(flash: Path) -> None:
    told(flash, "spoil-a")
    assert opened(flash).choose(is_thorough=False) == 0
    assert opened(flash).choose(is_thorough=True) == NONE
    told(flash, "stage spoil-b")
    assert opened(flash).choose(is_thorough=False) == 0


def test_a_surplus_file_is_as_bad_as_a_changed_one(flash: Path) -> None:
    (flash / "a" / "puf" / "b.mpy").write_bytes(b"")
    assert not opened(flash).is_whole(0)


def test_a_flash_that_cannot_be_written_keeps_nothing_from_starting(
    flash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(flash, "stage")

    def fails(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Slots, "_write", fails)
    # A trial that cannot be counted is none.
    assert opened(flash).choose() == 0


def test_firmware_confirms_itself_only_when_boot_py_said_that_it_is_on_trial(
    flash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_state, "root", f"{flash}/")
    told(flash, "stage start")
    assert not slots.confirm()
    monkeypatch.setattr(boot_state, "is_trial", True)
    assert slots.confirm()
    assert opened(flash).state.running == 1
    assert not slots.confirm()


def test_a_note_damaged_in_any_bit_or_cut_anywhere_is_no_note(flash: Path) -> None:
    path = flash / "notes" / "slots.1"
    good = path.read_bytes()
    for bad in damaged(good):
        path.write_bytes(bad)
        # What is left: the marker of the slot that is whole.
        assert opened(flash).state == State(0, 0, NONE, 0, 0, 0)
    path.write_bytes(good)
    (flash / "notes" / "slots.0").write_bytes(b"\0" * len(good))
    assert opened(flash).state == State(1, 0, NONE, 0, 0, 0)


def test_a_marker_damaged_in_any_bit_or_cut_anywhere_is_no_marker(flash: Path) -> None:
    path = flash / "a" / "slot"
    for bad in damaged(path.read_bytes()):
        path.write_bytes(bad)
        assert opened(flash).marker(0) is None


def damaged(good: bytes) -> list[bytes]:
    flipped = [
        good[: bit // 8] + bytes([good[bit // 8] ^ 1 << bit % 8]) + good[bit // 8 + 1 :]
        for bit in range(8 * len(good))
    ]
    return [*flipped, *(good[:end] for end in range(len(good))), good + b"\0"]


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_no_marker_and_no_note_or_make_the_same_bytes_again(data: bytes) -> None:
    found = slots.parse_marker(data)
    assert found is None or found.encode()[:-8] == data
    state = slots.parse_state(data)
    assert state is None or slots.encode_state(state)[:-8] == data


@given(st.text(max_size=300), st.integers(0, (1 << 32) - 1), st.binary(max_size=32))
def test_an_entry_is_the_canonical_cbor_of_path_size_and_hash(path: str, size: int, digest: bytes) -> None:
    assert slots.entry(path, size, digest) == cbor.encode([path, size, digest])


def test_marker_note_and_list_keep_their_bytes() -> None:
    """Golden: a board reads what an older one wrote.  To change one is a line in CHANGELOG.md."""
    assert Marker(258, 7, bytes(range(32)), b"lock").encode().hex() == (
        "435053310000010200000007000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f6c6f636b"
        "32c5659bad577cce"
    )
    assert (
        slots.encode_state(State(5, 1, NONE, 0, 3, 9)).hex()
        == "43504e310000000501ff0000000003000000091db183b5866e4d4c"
    )
    assert slots.entry("puf/a.mpy", 300, b"\x11" * 32).hex() == (
        "83697075662f612e6d707919012c5820" + "11" * 32
    )
