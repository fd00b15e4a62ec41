"""Notes in two slots: after a power cut inside any write they are the old ones or the new ones."""

import hmac

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf.errors import NotesError
from puf.notes import NOTES_BYTES_MAX, Notes, Slots
from tests.puf.flash import Flash, PowerCut
from tests.puf.messages import all_bits_flipped, all_truncated

KEY = bytes(range(32))

# What is in flash.  Changing it is a line in CHANGELOG.md.
GOLDEN = "8401014268695010c94042302a7b318d6f3678550051b3"


def test_the_format_is_golden() -> None:
    flash = Flash()
    Notes(flash, KEY, "window").write(b"hi")
    assert flash.slots[0].hex() == GOLDEN
    assert flash.slots[1] == b""
    said = cbor2.dumps(["cpc/notes", 1, "window", 1, b"hi"])
    assert GOLDEN.endswith(hmac.digest(KEY, said, "sha256")[:16].hex())


def test_what_was_written_is_read_again_by_the_same_name_and_key_only() -> None:
    flash = Flash()
    notes = Notes(flash, KEY, "window")
    with pytest.raises(NotesError, match="no notes 'window'"):
        notes.read()
    for number in range(5):
        notes.write(b"%d" % number)
        assert notes.read() == Notes(flash, KEY, "window").read() == b"%d" % number
    assert (notes.write_count, flash.write_count) == (5, 5)
    assert Notes(flash, bytes(32), "window").value is None
    assert Notes(flash, KEY, "counter").value is None


@given(st.lists(st.tuples(st.binary(max_size=20), st.none() | st.integers(0, 60)), max_size=12))
@settings(deadline=None, max_examples=150)
def test_a_power_cut_leaves_the_old_or_the_new(writes: list[tuple[bytes, int | None]]) -> None:
    flash = Flash()
    last: bytes | None = None
    for value, cut_keep in writes:
        notes = Notes(flash, KEY, "window")
        assert notes.value == last
        if cut_keep is None:
            notes.write(value)
            last = value
            continue
        flash.cut(0, cut_keep)
        with pytest.raises(PowerCut):
            notes.write(value)
        assert notes.value == last
        after = Notes(flash, KEY, "window").value
        assert after in (last, value)
        last = after


def test_a_torn_write_after_another_does_not_touch_the_good_slot() -> None:
    flash = Flash()
    Notes(flash, KEY, "window").write(b"first")
    Notes(flash, KEY, "window").write(b"second")
    for keep in (0, 1, 5, 20, 1, 5):
        flash.cut(0, keep)
        with pytest.raises(PowerCut):
            Notes(flash, KEY, "window").write(b"third")
        assert Notes(flash, KEY, "window").read() == b"second"


def test_damage_in_one_slot_leaves_the_notes_before() -> None:
    flash = Flash()
    Notes(flash, KEY, "window").write(b"old")
    Notes(flash, KEY, "window").write(b"new")
    good = flash.slots[1]
    for data in (*all_bits_flipped(good), *all_truncated(good), good + b"\x00", b"\xff" * 40, b"\x80"):
        flash.slots[1] = data
        assert Notes(flash, KEY, "window").read() == b"old"
    flash.slots[0] = b"\xff" * 40
    with pytest.raises(NotesError, match="set them up anew"):
        Notes(flash, KEY, "window").read()


@given(st.binary(max_size=60))
def test_garbage_is_no_notes(data: bytes) -> None:
    flash = Flash()
    flash.slots = [data, data]
    assert Notes(flash, KEY, "window").value is None


def test_notes_that_are_too_long_are_our_own_mistake() -> None:
    notes = Notes(Flash(), KEY, "window")
    notes.write(bytes(NOTES_BYTES_MAX))
    with pytest.raises(ValueError, match="at most 512"):
        notes.write(bytes(NOTES_BYTES_MAX + 1))
    with pytest.raises(NotImplementedError):
        Slots().read(0)
    with pytest.raises(NotImplementedError):
        Slots().write(0, b"")
