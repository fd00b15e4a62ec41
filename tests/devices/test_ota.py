"""An update on its way into a board: every way in which it can be disturbed, refused, or go on."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.firmware_build import write_tree
from devices.firmware_pack import Update, marker, pack, read_files
from devices.firmware_sender import BUSY_WAIT_MS, IDLE_ROUNDS_MAX, Sender
from devices.micropython import ota as outer
from devices.micropython import ota_receiver as ota
from devices.micropython import slots
from devices.micropython.errors import UpdateError
from devices.micropython.ota_receiver import Receiver
from devices.micropython.slots import ATTEMPTS, NONE, Slots, State
from puf import cbor
from puf.ed25519 import SigningKey

KEY = SigningKey(b"publisher".ljust(32, b"."))
OLD = {
    "main.mpy": b"M\x06old" * 300,
    "puf/same.mpy": b"M\x06same" * 500,
    "gone/away.mpy": b"M\x06",
    "e.bin": b"",
}
NEW = {
    "main.mpy": b"M\x06new" * 400,
    "puf/same.mpy": OLD["puf/same.mpy"],
    "come/here.json": b"{}",
    "e.bin": b"",
}
UPDATE = pack(NEW, KEY, "lock", 2, minimum=1)


def fill(root: Path, slot: int, files: dict[str, bytes], version: int) -> None:
    write_tree(root / slots.NAMES[slot], files)
    (root / slots.NAMES[slot] / "slot").write_bytes(marker(files, "lock", version, 0))


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    """Version 1 runs in slot a; slot b is empty."""
    fill(tmp_path, 0, OLD, 1)
    opened = Slots(f"{tmp_path}/")
    opened._write(State(0, 0, NONE, 0, 0, 0))
    return tmp_path


def receiver(flash: Path, **options: Any) -> Receiver:
    return Receiver(
        f"{flash}/", KEY.public, options.pop("role", "lock"), options.pop("board", "esp32"), **options
    )


def decoded(data: bytes) -> Any:
    return cbor.decode(data)


def say(made: Receiver, *items: object) -> list[int]:
    answer = made.handle(cbor.encode(list(items)), 0)
    assert len(answer) <= 64
    return decoded(answer)  # type: ignore[no-any-return]


def ask(made: Receiver) -> dict[str, Any]:
    return decoded(made.handle(cbor.encode([ota.ASK]), 0))  # type: ignore[no-any-return]


def bring(made: Receiver, update: Update = UPDATE, sender: Sender | None = None) -> Sender:
    """The whole update.  Raises UpdateError."""
    sender = sender or Sender(update)
    body = sender.next(None)
    while body is not None:
        assert len(body) <= ota.BODY_BYTES_MAX
        body = sender.next(made.handle(body, 0))
    return sender


def assert_staged(flash: Path, files: dict[str, bytes] = NEW, version: int = 2) -> None:
    opened = Slots(f"{flash}/")
    assert (opened.state.running, opened.state.pending, opened.state.attempts) == (0, 1, ATTEMPTS)
    assert read_files(flash / "b") == files
    assert opened.is_whole(1)
    found = opened.marker(1)
    assert found is not None
    assert (found.version, found.role) == (version, b"lock")


# It arrives


def test_an_update_arrives_and_what_the_running_slot_has_is_not_sent(flash: Path) -> None:
    sender = bring(receiver(flash))
    assert_staged(flash)
    needed = len(UPDATE.stream) - len(OLD["puf/same.mpy"])
    assert sender.done == sender.total == len(UPDATE.stream)
    # A piece may reach into a file that is there already: less than one piece for each such file.
    assert needed <= sender.sent_size < needed + ota.DATA_BYTES_MAX
    assert read_files(flash / "a") == OLD


def test_the_board_says_what_runs_what_waits_and_what_failed(flash: Path) -> None:
    made = receiver(flash)
    assert ask(made) == {
        **{"role": "lock", "board": "esp32", "slot": "a", "version": 1, "is_trial": False, "staged": 0},
        **{"failed": 0, "floor": 0, "code": ota.NOT_BEGUN, "offset": 0, "size": 0},
    }
    bring(made)
    assert ask(made)["staged"] == 2
    Slots(f"{flash}/").choose()
    assert {name: ask(made)[name] for name in ("slot", "version", "is_trial", "staged")} == {
        **{"slot": "b", "version": 2, "is_trial": True, "staged": 0}
    }
    for _ in range(ATTEMPTS):
        Slots(f"{flash}/").choose()
    assert {name: ask(made)[name] for name in ("slot", "version", "failed")} == {
        **{"slot": "a", "version": 1, "failed": 2}
    }


def test_an_update_over_a_slot_that_held_another_removes_what_is_not_in_it(flash: Path) -> None:
    fill(flash, 1, OLD | {"main.mpy": b"older", "come": b"a file where a folder is needed"}, 1)
    bring(receiver(flash))
    assert_staged(flash)
    assert not (flash / "b" / "gone").exists()


def test_no_file_is_written_that_the_slot_has_already(flash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(receiver(flash))
    Slots(f"{flash}/").clear(1)
    written: list[str] = []
    opener: Callable[..., Any] = open

    def watching(path: str, mode: str) -> Any:
        if "w" in mode:
            written.append(Path(path).name)
        return opener(path, mode)

    monkeypatch.setattr(ota, "open", watching, raising=False)
    monkeypatch.setattr(slots, "open", watching, raising=False)
    sender = bring(receiver(flash))
    assert written == ["slot", "slots.0"]
    assert sender.sent_count == 0
    assert_staged(flash)


def test_each_file_is_written_once(flash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    opener: Callable[..., Any] = open

    def watching(path: str, mode: str) -> Any:
        if "w" in mode:
            written.append(Path(path).relative_to(flash).as_posix())
        return opener(path, mode)

    monkeypatch.setattr(ota, "open", watching, raising=False)
    monkeypatch.setattr(slots, "open", watching, raising=False)
    bring(receiver(flash))
    assert written == [
        *("b/manifest", "b/come/here.json", "b/e.bin", "b/main.mpy", "b/puf/same.mpy"),
        *("b/slot", "notes/slots.0"),
    ]


def test_a_device_that_holds_the_receiver_only_while_it_works_does_the_same(flash: Path) -> None:
    assert outer.NOT_BEGUN == ota.NOT_BEGUN
    made: Any = outer.Receiver(f"{flash}/", KEY.public, "lock", "esp32")
    assert say(made, ota.GO)[0] == ota.NOT_BEGUN
    bad = Update(UPDATE.statement, UPDATE.firmware, UPDATE.entries, bytes(len(UPDATE.stream)))
    with pytest.raises(UpdateError):
        bring(made, bad)
    # The code of what failed is known to the next that is loaded.
    assert (say(made, ota.GO)[0], made._inner) == (ota.LIST_WRONG, None)
    assert say(made, ota.BEGIN, UPDATE.statement)[0] == ota.WANT
    assert made._inner is not None
    bring(made)
    assert (ask(made)["staged"], ask(made)["code"], made._inner) == (2, ota.STAGED, None)
    assert_staged(flash)


# It is disturbed


def test_after_a_lost_link_it_goes_on_in_the_middle_of_a_file(flash: Path) -> None:
    made = receiver(flash)
    sender = Sender(UPDATE)
    body = sender.next(None)
    for _ in range(3):
        assert body is not None
        body = sender.next(made.handle(body, 0))
    wanted = ask(made)["offset"]
    assert wanted > 1_000
    again = Sender(UPDATE)
    first = again.next(None)
    assert first is not None
    assert decoded(made.handle(first, 0)) == [ota.WANT, wanted, len(UPDATE.stream)]
    bring(made, sender=again)
    assert_staged(flash)
    assert sender.sent_size + again.sent_size < len(UPDATE.stream) + ota.DATA_BYTES_MAX


def test_after_a_restart_it_goes_on_with_the_file_that_was_being_written(flash: Path) -> None:
    sent = 0
    for _ in range(40):
        made, sender = receiver(flash), Sender(UPDATE)
        body = sender.next(None)
        # The power is cut every few messages.
        for _ in range(6):
            if body is None:
                break
            body = sender.next(made.handle(body, 0))
        sent += sender.sent_size
        if body is None:
            break
    assert_staged(flash)
    assert sent < 3 * len(UPDATE.stream)


def test_a_repeated_a_late_and_an_early_piece_change_nothing(flash: Path) -> None:
    made = receiver(flash)
    size = len(UPDATE.stream)
    assert say(made, ota.BEGIN, UPDATE.statement) == [ota.WANT, 0, size]
    piece = UPDATE.stream[:50]
    assert say(made, ota.DATA, 0, piece) == [ota.WANT, 50, size]
    assert say(made, ota.DATA, 0, piece) == [ota.WANT, 50, size]
    assert say(made, ota.DATA, 51, UPDATE.stream[51:90]) == [ota.WANT, 50, size]
    # One that overlaps is used from where it is new.
    assert say(made, ota.DATA, 10, UPDATE.stream[10:90]) == [ota.WANT, 90, size]
    assert say(made, ota.DATA, 90, b"") == [ota.WANT, 90, size]
    bring(made)
    assert_staged(flash)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 32))
def test_whatever_is_lost_repeated_late_or_restarted_it_arrives(seed: int) -> None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        flash = Path(name)
        fill(flash, 0, OLD, 1)
        Slots(f"{flash}/")._write(State(0, 0, NONE, 0, 0, 0))
        made, sender = receiver(flash), Sender(UPDATE)
        body, earlier = sender.next(None), [b"\x81\x03"]
        for _ in range(2_000):
            if body is None:
                break
            earlier.append(body)
            chance = dice.random()
            if chance < 0.03:
                made = receiver(flash)
                body = sender.next(None)
            elif chance < 0.08:
                body = sender.next(None)
            elif chance < 0.2:
                made.handle(dice.choice(earlier), 0)
            else:
                answer = made.handle(body, 0)
                code = decoded(answer)[0]
                body = sender.next(None) if code == ota.NOT_BEGUN else sender.next(answer)
        assert body is None
        assert_staged(flash)


def test_a_broken_piece_is_asked_for_again_and_three_times_is_enough(flash: Path) -> None:
    made = receiver(flash)
    start = UPDATE.firmware.list_size
    say(made, ota.BEGIN, UPDATE.statement)
    assert say(made, ota.DATA, 0, UPDATE.stream[:start]) == [ota.WANT, start, len(UPDATE.stream)]
    assert say(made, ota.DATA, start, b"[]")[:2] == [ota.WANT, start]
    assert say(made, ota.DATA, start, b"[]")[:2] == [ota.WANT, start]
    assert say(made, ota.DATA, start, b"{}")[0] == ota.WANT
    assert say(made, ota.ASK + ota.GO)[1] == start + 2
    again = receiver(flash)
    bad = bytearray(UPDATE.stream)
    bad[-1] ^= 1
    (flash / "a" / "puf" / "same.mpy").write_bytes(b"it is not there any more")
    with pytest.raises(UpdateError, match="three times") as caught:
        bring(again, Update(UPDATE.statement, UPDATE.firmware, UPDATE.entries, bytes(bad)))
    assert caught.value.code == ota.FILE_WRONG
    assert Slots(f"{flash}/").marker(1) is None
    assert say(again, ota.GO)[0] == ota.FILE_WRONG
    # What came right stays, and what was wrong is not left behind.
    assert sorted(read_files(flash / "b")) == ["come/here.json", "e.bin", "main.mpy"]
    bring(again)
    assert_staged(flash)


def test_a_list_that_was_not_signed_is_refused(flash: Path) -> None:
    bad = bytearray(UPDATE.stream)
    bad[3] ^= 1
    with pytest.raises(UpdateError) as caught:
        bring(receiver(flash), Update(UPDATE.statement, UPDATE.firmware, UPDATE.entries, bytes(bad)))
    assert caught.value.code == ota.LIST_WRONG
    assert not (flash / "b" / "manifest").exists()


def test_what_ends_for_want_of_memory_is_begun_again_and_never_said_to_be_staged(
    flash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = receiver(flash)

    def scarce(*_: object) -> None:
        raise MemoryError

    assert say(made, ota.BEGIN, UPDATE.statement)[0] == ota.WANT
    with monkeypatch.context() as patched:
        patched.setattr(ota, "_make_way", scarce)
        with pytest.raises(MemoryError):
            bring(made)
    assert say(made, ota.GO) == [ota.NOT_BEGUN, 0, 0]
    assert Slots(f"{flash}/").state.pending == NONE
    bring(made)
    assert_staged(flash)


def test_who_watches_a_fetch_is_not_told_what_an_earlier_update_came_to(flash: Path) -> None:
    made = outer.Receiver(f"{flash}/", KEY.public, "lock", "esp32", fetch=lambda *_: True)
    bring(made)  # type: ignore[arg-type]
    assert ask(made)["code"] == ota.STAGED  # type: ignore[arg-type]
    assert say(made, ota.FETCH, "http://a/b", "", "")[0] == ota.WORKING  # type: ignore[arg-type]
    assert ask(made)["code"] == ota.NOT_BEGUN  # type: ignore[arg-type]


def test_a_full_flash_ends_it_and_what_runs_runs_on(flash: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = receiver(flash)
    opener: Callable[..., Any] = open

    def full(path: str, mode: str) -> Any:
        if "main.mpy" in path and "w" in mode:
            raise OSError(28)
        return opener(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(ota, "open", full, raising=False)
        with pytest.raises(UpdateError) as caught:
            bring(made)
    assert caught.value.code == ota.FLASH_FAILED
    assert Slots(f"{flash}/").choose() == 0
    bring(made)
    assert_staged(flash)


# It is refused


@pytest.mark.parametrize(
    ("files", "options", "code"),
    [
        (NEW, {"role": "charger"}, ota.NOT_FOR_ROLE),
        (NEW, {"board": "esp32-c3"}, ota.NOT_FOR_BOARD),
        (NEW, {"loader": slots.LOADER + 1}, ota.LOADER_OLD),
        (NEW, {"version": 1, "minimum": 0}, ota.TOO_OLD),
        (OLD, {"version": 1}, ota.SAME),
        (NEW, {"key": SigningKey(bytes(32))}, ota.NOT_SIGNED),
    ],
)
def test_what_is_not_for_this_board_is_refused(
    flash: Path, files: dict[str, bytes], options: dict[str, Any], code: int
) -> None:
    update = pack(
        files, options.pop("key", KEY), options.pop("role", "lock"), options.pop("version", 2), **options
    )
    assert say(receiver(flash), ota.BEGIN, update.statement)[0] == code
    assert not (flash / "b").exists()
    if code == ota.SAME:
        assert bring(receiver(flash), update).is_same
    else:
        with pytest.raises(UpdateError, match=ota.REASONS[code][:20]):
            bring(receiver(flash), update)


def test_firmware_for_this_board_by_name_and_for_any_board_is_taken(flash: Path) -> None:
    for board in ("esp32", "any"):
        update = pack(NEW, KEY, "lock", 2, board=board)
        assert say(receiver(flash), ota.BEGIN, update.statement)[0] == ota.WANT


def test_a_board_goes_back_only_when_that_was_signed_and_never_below_its_floor(flash: Path) -> None:
    fill(flash, 0, OLD, 9)
    Slots(f"{flash}/")._write(State(0, 0, NONE, 0, 5, 0))
    for version, may_go_back, code in (
        *((8, False, ota.TOO_OLD), (8, True, ota.WANT), (9, False, ota.TOO_OLD), (9, True, ota.WANT)),
        *((5, True, ota.WANT), (4, True, ota.TOO_OLD), (10, False, ota.WANT)),
    ):
        update = pack(NEW, KEY, "lock", version, may_go_back=may_go_back)
        assert say(receiver(flash), ota.BEGIN, update.statement)[0] == code, version


def test_nothing_is_taken_while_what_runs_has_not_confirmed_itself(flash: Path) -> None:
    bring(receiver(flash))
    assert Slots(f"{flash}/").choose() == 1
    newer = pack(NEW | {"main.mpy": b"M\x06x"}, KEY, "lock", 3)
    assert say(receiver(flash), ota.BEGIN, newer.statement)[0] == ota.ON_TRIAL
    assert Slots(f"{flash}/").confirm()
    bring(receiver(flash), newer)
    opened = Slots(f"{flash}/")
    assert (opened.state.running, opened.state.pending) == (1, 0)
    assert read_files(flash / "a") == NEW | {"main.mpy": b"M\x06x"}


def test_a_staged_update_may_be_replaced_and_is_not_brought_twice(flash: Path) -> None:
    made = receiver(flash)
    bring(made)
    assert say(made, ota.BEGIN, UPDATE.statement)[0] == ota.STAGED
    assert say(receiver(flash), ota.BEGIN, UPDATE.statement)[0] == ota.STAGED
    newer = pack(NEW | {"main.mpy": b"M\x06x"}, KEY, "lock", 3)
    assert say(made, ota.BEGIN, newer.statement)[0] == ota.WANT
    assert Slots(f"{flash}/").choose() == 0
    bring(made, newer)
    assert_staged(flash, NEW | {"main.mpy": b"M\x06x"}, 3)


def test_a_board_that_moves_something_answers_later(flash: Path) -> None:
    is_free = [False]
    made = receiver(flash, is_free=lambda: is_free[0])
    sender = Sender(UPDATE)
    body = sender.next(None)
    assert body is not None
    assert sender.next(made.handle(body, 0)) == body
    assert sender.wait_ms == BUSY_WAIT_MS
    assert not (flash / "b").exists()
    is_free[0] = True
    bring(made, sender=sender)
    assert_staged(flash)


def test_no_call_does_much_more_than_its_share(flash: Path) -> None:
    big = {f"{number}.bin": bytes([number]) * 9_000 for number in range(8)}
    fill(flash, 0, big, 1)
    made = receiver(flash)
    update = pack(big | {"new.bin": b"n"}, KEY, "lock", 2)
    say(made, ota.BEGIN, update.statement)
    calls = 0
    body: bytes | None = cbor.encode([ota.DATA, 0, update.stream[: update.firmware.list_size]])
    sender = Sender(update)
    while body is not None:
        made._spent = 0
        body = sender.next(made.handle(body, 0))
        assert made._spent <= ota.STEP_BYTES + 1_100
        calls += 1
    # 72,000 bytes are read once and copied once.
    assert 144_000 / ota.STEP_BYTES <= calls < 50
    assert sender.sent_size <= 1_000


# Garbage


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_answered_as_malformed(data: bytes) -> None:
    answer = decoded(Receiver("nowhere/", KEY.public, "lock", "esp32").handle(data, 0))
    assert isinstance(answer, dict) or answer[0] in (
        ota.MALFORMED,
        ota.NOT_BEGUN,
        ota.NOT_SIGNED,
        ota.NO_FETCH,
    )


@pytest.mark.parametrize(
    "items",
    [
        [],
        [0, 1],
        [1],
        [1, "text"],
        [2, 0],
        [2, 0, "x"],
        [2, b"", b""],
        [3, 1],
        [4, "u", "n"],
        [5],
        [-1],
        [True],
        ["0"],
        [None],
        [2, True, b""],
        {},
        3,
        b"\x80",
    ],
)
def test_a_message_of_another_form_is_malformed(flash: Path, items: object) -> None:
    made = receiver(flash)
    assert decoded(made.handle(cbor.encode(items), 0)) == [ota.MALFORMED, 0, 0]


def test_a_message_that_is_too_long_is_malformed_and_does_not_disturb(flash: Path) -> None:
    made = receiver(flash)
    say(made, ota.BEGIN, UPDATE.statement)
    assert say(made, ota.DATA, 0, bytes(1_020))[0] == ota.MALFORMED
    bring(made)
    assert_staged(flash)


def test_each_truncation_and_flipped_bit_of_a_first_message_is_refused(flash: Path) -> None:
    good = cbor.encode([ota.BEGIN, UPDATE.statement])
    made = receiver(flash)
    for end in range(len(good)):
        assert decoded(made.handle(good[:end], 0))[0] == ota.MALFORMED
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert decoded(made.handle(bytes(bad), 0))[0] in (ota.MALFORMED, ota.NOT_SIGNED, ota.NOT_BEGUN)
    assert not (flash / "b").exists()


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_a_sender_that_is_answered_with_garbage_says_so(data: bytes) -> None:
    sender = Sender(UPDATE)
    sender.next(None)
    try:
        sender.next(data)
    except UpdateError:
        return
    assert decoded(data)[0] in (*range(5), ota.STAGED)


def test_a_sender_gives_up_on_a_board_that_gets_no_further() -> None:
    for answer in ([ota.WORKING, 0, 0], [ota.WANT, 5, 0]):
        sender = Sender(UPDATE)
        sender.next(None)
        for _ in range(IDLE_ROUNDS_MAX + 1 - (answer[0] == ota.WORKING)):
            sender.next(cbor.encode(answer))
        with pytest.raises(UpdateError, match="no further"):
            sender.next(cbor.encode(answer))
    with pytest.raises(UpdateError):
        Sender(UPDATE).next(cbor.encode([ota.WANT, len(UPDATE.stream), 0]))


def test_every_code_has_its_words_and_messages_keep_their_bytes() -> None:
    assert set(ota.REASONS) == set(range(16, 29))
    sender = Sender(UPDATE)
    begin = sender.next(None)
    assert begin is not None
    assert begin.hex().startswith("820158")
    data = sender.next(bytes.fromhex("8300188c1904d2"))
    assert data is not None
    assert data.hex()[:14] == "8302188c5903e8"
    assert sender.next(bytes.fromhex("83010000")) == bytes.fromhex("8103")
