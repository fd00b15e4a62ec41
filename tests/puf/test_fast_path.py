"""Two who have met: what each message must be, and what losses, power cuts and attackers do to a meeting."""

import contextlib
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, fast_path
from puf.errors import FastPathError, NotesError
from puf.fast_path import (
    DONE,
    ENDED,
    FORMAT,
    FRESH,
    INITIATOR_NEXT,
    ORDER,
    RESPONDER_NEXT,
    STALE,
    TAG,
    TIMEOUT,
    UNKNOWN,
    WAITING,
    Initiator,
    Responder,
)
from puf.fast_path_keys import EPOCH_MAX, Pairing, Pairings, Session
from tests.puf.messages import all_bits_flipped, all_truncated

CAR, LOCK = b"car", b"lock"
KEY = bytes(range(32))
NONCE_I, NONCE_R = b"\x11" * 16, b"\x22" * 16

# The wire format, computed with other code (hmac and cbor2).  Changing it is a line in CHANGELOG.md.
GOLDEN_1 = "8301488b0545666efbf1225011111111111111111111111111111111"
GOLDEN_2 = "83025022222222222222222222222222222222502714067cea9eeb1baf6b30cd10dfa6b0"
GOLDEN_3 = "820350df5ecdb5d24d51eba45112fe2be299d9"
GOLDEN_KEYS = (
    "371098391a11e6523f588e43003013d6",
    "f97404a6013a64d7d4a0e1178f402bd64653a05351bc91b6a146105ca61b6dd1",
)


def book(*pairings: Pairing) -> Pairings:
    known = Pairings(8)
    for pairing in pairings:
        known.add(pairing)
    return known


def meet(pairing: Pairing, known: Pairings, seed: int = 0) -> tuple[list[bytes], Session, Session, Initiator]:
    dice = random.Random(seed)
    car = Initiator(pairing, dice.randbytes(16), 0)
    lock = Responder(known, dice.randbytes(16), 0)
    first = car.start(0)
    second = lock.receive(first.send, 1)
    third = car.receive(second.send, 2)
    last = lock.receive(third.send, 3)
    assert third.session is not None
    assert last.session is not None
    assert (car.state, lock.state, last.send) == (DONE, DONE, b"")
    return [first.send, second.send, third.send], third.session, last.session, car


# What is said


def test_the_wire_format_is_golden() -> None:
    car = Initiator(Pairing(CAR, LOCK, KEY), NONCE_I, 0)
    lock = Responder(book(Pairing(CAR, LOCK, KEY)), NONCE_R, 0)
    first = car.start(0)
    second = lock.receive(first.send, 0)
    third = car.receive(second.send, 0)
    last = lock.receive(third.send, 0)
    assert first.send.hex() == GOLDEN_1
    assert second.send.hex() == GOLDEN_2
    assert third.send.hex() == GOLDEN_3
    assert [len(step.send) for step in (first, second, third)] == [28, 36, 19]
    assert last.session is not None
    assert (last.session.receive_key.hex(), last.session.export("test").hex()) == GOLDEN_KEYS


def test_both_have_the_same_keys_and_nobody_else_has() -> None:
    _, ours, theirs, _ = meet(Pairing(CAR, LOCK, KEY), book(Pairing(CAR, LOCK, KEY)))
    assert ours.send_key == theirs.receive_key != ours.receive_key == theirs.send_key
    assert ours.export("lock", b"1") == theirs.export("lock", b"1") != ours.export("lock", b"2")
    assert ours.export("lock", b"1") != ours.export("loc", b"k1")
    assert ours.transcript == theirs.transcript
    assert (ours.initiator, ours.responder, ours.epoch) == (theirs.initiator, theirs.responder, 0)
    _, other, _, _ = meet(Pairing(CAR, LOCK, KEY), book(Pairing(CAR, LOCK, KEY)), seed=1)
    assert len({other.send_key, ours.send_key, other.export("lock", b"1"), ours.export("lock", b"1")}) == 4


def test_each_meeting_has_a_name_and_a_key_of_its_own() -> None:
    pairing, known = Pairing(CAR, LOCK, KEY), book(Pairing(CAR, LOCK, KEY))
    said: list[bytes] = []
    keys = set()
    for number in range(20):
        messages, session, _, car = meet(pairing, known, number)
        said += [part for message in messages for part in cbor.decode(message)[1:]]  # type: ignore[index]
        keys |= {session.send_key, session.receive_key, pairing.key}
        pairing = car.pairing
        assert pairing.epoch == number + 1
    # Nothing that a listener hears comes twice, in whole or in half.
    assert len(set(said)) == len(said) == 100
    assert len({part[:8] for part in said}) == 100
    assert len(keys) == 60


def test_no_later_key_gives_an_earlier_one_back() -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    _, _, _, car = meet(Pairing(CAR, LOCK, KEY), known)
    kept = known.current(CAR)
    assert kept is not None
    assert kept.key == car.pairing.key != KEY
    assert known.find(Pairing(CAR, LOCK, KEY).name) is None


# Stories


class World:
    """A car and a lock, each with flash; `visit` is one meeting after both were started anew."""

    def __init__(self) -> None:
        self.car = Pairing(CAR, LOCK, KEY).encode()
        self.lock = Pairing(CAR, LOCK, KEY).encode()
        self.names: list[bytes] = []
        self._nonces = random.Random(0)

    def epochs(self) -> str:
        return f"{Pairing.decode(self.car).epoch}/{Pairing.decode(self.lock).epoch}"

    def visit(self, fault: str = "") -> str:
        """The fault is a message that is lost, or a party whose power fails before or after it saved."""
        car = Initiator(Pairing.decode(self.car), self._nonces.randbytes(16), 0)
        lock = Responder(book(Pairing.decode(self.lock)), self._nonces.randbytes(16), 0)
        first = car.start(0)
        self.names.append(car.pairing.name)
        if fault == "message 1 lost":
            return "nothing"
        second = lock.receive(first.send, 0)
        if second.save is not None:
            if fault == "lock fails before it saves the name":
                return "nothing"
            self.lock = second.save.encode()
        if fault in ("message 2 lost", "lock fails before it answers"):
            return "nothing"
        third = car.receive(second.send, 0)
        assert third.save is not None
        if fault == "car fails before it saves":
            return "nothing"
        self.car = third.save.encode()
        if fault in ("message 3 lost", "car fails after it saved"):
            return "car believes"
        last = lock.receive(third.send, 0)
        assert last.save is not None
        if fault == "lock fails before it saves":
            return "car believes"
        self.lock = last.save.encode()
        return "car believes" if fault == "lock fails after it saved" else "open"


FAULTS = (
    "",
    "message 1 lost",
    "message 2 lost",
    "message 3 lost",
    "lock fails before it saves the name",
    "lock fails before it answers",
    "car fails before it saves",
    "car fails after it saved",
    "lock fails before it saves",
    "lock fails after it saved",
)

STORY = """\
                                      -> open 1/1
message 1 lost                        -> nothing 1/1
message 2 lost                        -> nothing 1/1
car fails before it saves             -> nothing 1/1
                                      -> open 2/2
message 3 lost                        -> car believes 3/2
lock fails before it saves the name   -> nothing 3/2
message 1 lost                        -> nothing 3/2
lock fails before it answers          -> nothing 3/3
message 3 lost                        -> car believes 4/3
message 3 lost                        -> car believes 5/4
car fails after it saved              -> car believes 6/5
lock fails before it saves            -> car believes 7/6
                                      -> open 8/8
lock fails after it saved             -> car believes 9/9
                                      -> open 10/10
"""


def test_a_story_of_losses_and_power_cuts() -> None:
    world = World()
    told = ""
    for line in STORY.splitlines():
        fault = line.partition("->")[0].strip()
        told += f"{fault:<38}-> {world.visit(fault)} {world.epochs()}\n"
    assert told == STORY


@given(st.lists(st.sampled_from(FAULTS), max_size=12))
@settings(deadline=None, max_examples=80)
def test_after_any_faults_they_find_each_other_again(faults: list[str]) -> None:
    world = World()
    opened = []
    for fault in faults:
        if world.visit(fault) == "open":
            opened.append(world.names[-1])
        car, lock = map(int, world.epochs().split("/"))
        assert car - lock in (0, 1)
    assert world.visit() == "open"
    assert len(set(opened)) == len(opened)


def test_no_attacker_makes_a_lock_write() -> None:
    """A name that was heard before is the present one or unknown: neither costs a write."""
    known = book(Pairing(CAR, LOCK, KEY))
    messages, _, _, car = meet(Pairing(CAR, LOCK, KEY), known)
    first = Initiator(car.pairing, NONCE_I, 0).start(0).send
    for _ in range(3):
        assert Responder(known, NONCE_R, 0).receive(first, 0).save is None
    with pytest.raises(FastPathError) as refused:
        Responder(known, NONCE_R, 0).receive(messages[0], 0)
    assert refused.value.reason == UNKNOWN


# Attackers


def refuse_responder(lock: Responder, data: bytes, *reasons: str) -> None:
    with pytest.raises(FastPathError) as refused:
        lock.receive(data, 0)
    assert refused.value.reason in reasons
    assert refused.value.answer in (b"", b"\x81\x04")
    assert lock.state == ENDED


def waiting_pair(known: Pairings, seed: int = 9) -> tuple[Initiator, Responder, bytes, bytes]:
    pairing = known.current(CAR)
    assert pairing is not None
    dice = random.Random(seed)
    car, lock = Initiator(pairing, dice.randbytes(16), 0), Responder(known, dice.randbytes(16), 0)
    first = car.start(0).send
    return car, lock, first, lock.receive(first, 0).send


def test_whatever_was_heard_before_opens_nothing() -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    pairing, heard = Pairing(CAR, LOCK, KEY), []
    for number in range(4):
        messages, _, _, car = meet(pairing, known, number)
        pairing = car.pairing
        heard += messages
    for message in heard:
        _, lock, _, _ = waiting_pair(known)
        refuse_responder(lock, message, TAG, ORDER)
        car, _, _, _ = waiting_pair(known)
        with pytest.raises(FastPathError) as refused:
            car.receive(message, 0)
        assert refused.value.reason in (TAG, ORDER)
        assert car.state == ENDED


def test_a_mirror_opens_nothing() -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    car, lock, first, second = waiting_pair(known)
    nonce, tag = cbor.decode(second)[1:]  # type: ignore[index]
    refuse_responder(lock, cbor.encode([3, tag]), TAG)
    with pytest.raises(FastPathError, match="not due"):
        car.receive(first, 0)
    # The car's own tag as the lock's answer, with either nonce.
    car, _, first, second = waiting_pair(known)
    own = car.receive(second, 0).send
    for echoed in (nonce, cbor.decode(first)[2]):  # type: ignore[index]
        again = Initiator(Pairing(CAR, LOCK, KEY), cbor.decode(first)[2], 0)  # type: ignore[index]
        again.start(0)
        with pytest.raises(FastPathError, match="does not have the key"):
            again.receive(cbor.encode([2, echoed, cbor.decode(own)[1]]), 0)  # type: ignore[index]


@pytest.mark.parametrize(
    "other",
    [
        Pairing(CAR, b"lock 2", KEY),
        Pairing(b"car 2", LOCK, KEY),
        Pairing(LOCK, CAR, KEY),
        Pairing(CAR, LOCK, KEY, 1),
    ],
    ids=repr,
)
def test_the_same_key_under_other_names_roles_or_epochs_proves_nothing(other: Pairing) -> None:
    car, lock = Initiator(other, NONCE_I, 0), Responder(book(Pairing(CAR, LOCK, KEY)), NONCE_R, 0)
    second = lock.receive(car.start(0).send, 0).send
    with pytest.raises(FastPathError) as refused:
        car.receive(second, 0)
    assert refused.value.reason == TAG


def test_two_visits_at_once_end_in_one_session() -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    car_a, lock_a, _, second_a = waiting_pair(known, 1)
    car_b, lock_b, _, second_b = waiting_pair(known, 2)
    refuse_responder(Responder(known, NONCE_R, 0), car_b.receive(second_b, 0).send, ORDER)
    assert lock_a.receive(car_a.receive(second_a, 0).send, 0).session is not None
    refuse_responder(lock_b, cbor.encode([3, bytes(16)]), STALE)
    car_c = Initiator(car_a.pairing, NONCE_I, 0)
    lock_c = Responder(known, NONCE_R, 0)
    assert lock_c.receive(car_c.receive(lock_c.receive(car_c.start(0).send, 0).send, 0).send, 0).session


def test_every_flipped_bit_and_every_cut_ends_the_meeting() -> None:
    pairing = Pairing(CAR, LOCK, KEY)
    _, _, first, second = waiting_pair(book(pairing))
    for data in (*all_bits_flipped(first), *all_truncated(first), first + b"\x00"):
        lock = Responder(book(pairing), NONCE_R, 0)
        if (
            data[3:11] == first[3:11]
            and data[:3] == first[:3]
            and data[11:12] == first[11:12]
            and len(data) == 28
        ):
            # A nonce of its own is any initiator's right; what it cannot do is go on.
            assert lock.receive(data, 0).session is None
        else:
            refuse_responder(lock, data, FORMAT, UNKNOWN, ORDER)
    for data in (*all_bits_flipped(second), *all_truncated(second), second + b"\x00"):
        car, _, _, _ = waiting_pair(book(pairing))
        with pytest.raises(FastPathError) as refused:
            car.receive(data, 0)
        assert refused.value.reason in (FORMAT, TAG, ORDER)
    car, _, _, _ = waiting_pair(book(pairing))
    third = car.receive(second, 0).send
    for data in (*all_bits_flipped(third), *all_truncated(third), third + b"\x00"):
        _, lock, _, _ = waiting_pair(book(pairing))
        refuse_responder(lock, data, FORMAT, TAG, ORDER)


@pytest.mark.parametrize(
    "message",
    [
        [1, b"n" * 7, b"n" * 16],
        [1, b"n" * 9, b"n" * 16],
        [1, b"n" * 8, b"n" * 15],
        [1, b"n" * 8, "n" * 16],
        [1, 8, b"n" * 16],
        [2, b"n" * 16, b"n" * 15],
        [3, b"n" * 17],
        [3, None],
        [3, [b"n" * 16]],
    ],
)
def test_each_part_has_its_type_and_its_length(message: list[object]) -> None:
    with pytest.raises(FastPathError) as refused:
        fast_path._parse(cbor.encode(message))
    assert refused.value.reason == FORMAT


@given(st.binary(max_size=80) | st.lists(st.integers(0, 5) | st.binary(max_size=20)).map(cbor.encode))
@settings(deadline=None, max_examples=150)
def test_garbage_ends_the_meeting_with_its_one_error(data: bytes) -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    with pytest.raises(FastPathError):
        Responder(known, NONCE_R, 0).receive(data, 0)
    car, lock, _, _ = waiting_pair(known)
    with pytest.raises(FastPathError):
        lock.receive(data, 0)
    with pytest.raises(FastPathError):
        car.receive(data, 0)
    assert (car.state, lock.state) == (ENDED, ENDED)


# Machines


def test_every_open_state_ends_by_fault_and_by_time() -> None:
    for table in (INITIATOR_NEXT, RESPONDER_NEXT):
        assert {state for state, _ in table} == {FRESH, WAITING}
        assert set(table.values()) == {WAITING, DONE, ENDED}
        for state in (FRESH, WAITING):
            assert table[state, "fault"] == table[state, TIMEOUT] == ENDED


def test_silence_ends_a_meeting() -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    car, lock, first, second = waiting_pair(known)
    machines: list[Initiator | Responder] = [
        *(car, lock, Responder(known, NONCE_R, 0), Initiator(Pairing(CAR, LOCK, KEY), NONCE_I, 0))
    ]
    for machine in machines:
        machine.tick(fast_path.TIMEOUT_MS - 1)
        with pytest.raises(FastPathError, match="silent"):
            machine.tick(machine.deadline_ms)
        assert machine.state == ENDED
        machine.tick(machine.deadline_ms)
    car, lock, _, second = waiting_pair(known)
    with pytest.raises(FastPathError) as late:
        car.receive(second, car.deadline_ms)
    assert late.value.reason == TIMEOUT
    with pytest.raises(FastPathError) as late:
        Responder(known, NONCE_R, 0).receive(first, fast_path.TIMEOUT_MS)
    assert late.value.reason == TIMEOUT


def test_what_comes_after_the_end_changes_nothing() -> None:
    known = book(Pairing(CAR, LOCK, KEY))
    messages, _, _, car = meet(Pairing(CAR, LOCK, KEY), known)
    pairing = car.pairing
    for message in messages:
        with pytest.raises(FastPathError, match="all was done") as late:
            car.receive(message, 3)
        assert late.value.reason == ORDER
    with pytest.raises(FastPathError):
        car.start(3)
    assert (car.state, car.pairing) == (DONE, pairing)
    car.tick(1 << 40)


def test_a_start_twice_or_an_answer_before_it_is_an_error() -> None:
    car = Initiator(Pairing(CAR, LOCK, KEY), NONCE_I, 0)
    car.start(0)
    with pytest.raises(FastPathError, match="start is not due when waiting"):
        car.start(0)
    _, _, _, second = waiting_pair(book(Pairing(CAR, LOCK, KEY)))
    early = Initiator(Pairing(CAR, LOCK, KEY), NONCE_I, 0)
    with pytest.raises(FastPathError, match="2 is not due when fresh"):
        early.receive(second, 0)


def test_who_is_not_known_is_told_to_meet_in_full() -> None:
    stranger = Initiator(Pairing(CAR, LOCK, bytes(32)), NONCE_I, 0)
    lock = Responder(book(Pairing(CAR, LOCK, KEY)), NONCE_R, 0)
    with pytest.raises(FastPathError) as refused:
        lock.receive(stranger.start(0).send, 0)
    assert (refused.value.reason, refused.value.answer.hex()) == (UNKNOWN, "8104")
    with pytest.raises(FastPathError, match="full handshake") as told:
        stranger.receive(refused.value.answer, 0)
    assert told.value.reason == UNKNOWN


def test_a_pairing_ends_after_its_last_epoch() -> None:
    with pytest.raises(ValueError, match="used up"):
        Initiator(Pairing(CAR, LOCK, KEY, EPOCH_MAX), NONCE_I, 0)
    last = Pairing(CAR, LOCK, KEY, EPOCH_MAX - 1)
    known = book(last)
    _, _, _, car = meet(last, known)
    with pytest.raises(ValueError, match="used up"):
        Initiator(car.pairing, NONCE_I, 0)
    refuse_responder(Responder(known, NONCE_R, 0), cbor.encode([1, car.pairing.name, NONCE_I]), UNKNOWN)


# What is kept


def test_the_one_used_longest_ago_makes_room() -> None:
    known = Pairings(2)
    a, b, c = (Pairing(name, LOCK, bytes([number]) * 32) for number, name in enumerate((b"a", b"b", b"c")))
    assert known.add(a) is None
    assert known.add(b) is None
    meet(a, known)
    assert known.add(c) is b
    assert (len(known), known.find(b.name), known.find(b.following().name)) == (2, None, None)
    assert known.find(a.following().name) is known.current(b"a")
    known.remove(b"a")
    known.remove(b"a")
    assert (len(known), known.find(a.following().name), known.current(b"a")) == (1, None, None)


def test_a_pairing_comes_back_as_it_was_stored() -> None:
    stored = Pairing(CAR, LOCK, KEY, 7).encode()
    again = Pairing.decode(stored)
    assert (again.initiator, again.responder, again.key, again.epoch) == (CAR, LOCK, KEY, 7)
    for data in all_truncated(stored):
        with pytest.raises(NotesError):
            Pairing.decode(data)
    for data in all_bits_flipped(stored):
        # A flipped bit may spell another pairing; who stores pairings seals them.
        with contextlib.suppress(NotesError):
            assert Pairing.decode(data).encode() == data


@given(
    st.binary(max_size=120) | st.lists(st.integers() | st.binary(max_size=40), max_size=6).map(cbor.encode)
)
@settings(deadline=None, max_examples=100)
def test_garbage_is_no_pairing(data: bytes) -> None:
    with pytest.raises(NotesError):
        Pairing.decode(data)


def test_nothing_that_is_printed_holds_a_key() -> None:
    pairing = Pairing(CAR, LOCK, KEY)
    _, session, _, car = meet(pairing, book(Pairing(CAR, LOCK, KEY)))
    shown = repr(pairing) + repr(session) + repr(car) + str(car.pairing)
    assert shown.startswith("Pairing(636172, 6c6f636b, epoch=0)Session(636172, 6c6f636b, epoch=0)")
    for secret in (KEY, car.pairing.key, session.send_key, session.receive_key):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


@pytest.mark.parametrize(
    ("initiator", "responder", "key", "epoch"),
    [
        (b"", LOCK, KEY, 0),
        (CAR, bytes(65), KEY, 0),
        (CAR, CAR, KEY, 0),
        (CAR, LOCK, KEY[:31], 0),
        (CAR, LOCK, KEY, -1),
        (CAR, LOCK, KEY, EPOCH_MAX + 1),
    ],
)
def test_what_cannot_be_a_pairing_is_refused(
    initiator: bytes, responder: bytes, key: bytes, epoch: int
) -> None:
    with pytest.raises(ValueError, match=r"identity|itself|32 bytes|used up"):
        Pairing(initiator, responder, key, epoch)


def test_a_nonce_of_another_length_is_our_own_mistake() -> None:
    for size in (0, 8, 17):
        with pytest.raises(ValueError, match="fresh random"):
            Initiator(Pairing(CAR, LOCK, KEY), bytes(size), 0)
    with pytest.raises(ValueError, match="room"):
        Pairings(0)


def test_every_reason_is_another() -> None:
    reasons = (FORMAT, TAG, ORDER, UNKNOWN, STALE, TIMEOUT)
    assert all(a != b for a, b in itertools.combinations(reasons, 2))
