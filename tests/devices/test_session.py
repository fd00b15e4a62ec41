"""A device and who connects to it, both sans-IO: every order, every loss, garbage, strangers and floods."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.micropython import commands
from devices.micropython import session as session_module
from devices.micropython.commands import GRANT, GRANT_KEY, LOG, OTA, REBOOT, SETTINGS, STATUS, TIME
from devices.micropython.session import FRESH_MS, IDLE_MS, MEETING_MS, OVER, PROVED, SESSIONS_MAX, Session
from gateway.device_link import Callee, Caller, DeviceLink
from gateway.errors import DeviceLinkError, DeviceRefused, DeviceUnproven
from puf import edhoc_credential, keys
from puf.edhoc import Identity
from puf.fast_path_keys import Pairing
from puf.grant import CLOSE, OPEN, Grant, answer_time, issue
from puf.x25519 import PrivateKey
from tests.devices.boards import GATEWAY, GATEWAY_SEED, ME, ROOT, Board, Random
from tests.devices.small_role import Gate
from tests.puf.flash import PowerCut

RECEIVE = Session.receive
TIME_MS = 1_790_000_000_000
STATIC = PrivateKey(keys.derive(ROOT, keys.EDHOC))
DEVICE = edhoc_credential.make(STATIC.public, b"\x02", "did:cpc:device")
OWNER = PrivateKey(GATEWAY_SEED)
OWNER_CREDENTIAL = edhoc_credential.make(OWNER.public, b"\x01", "did:cpc:gateway")
CALLEE = Callee(ME, DEVICE)
CAR, TRUCK = PrivateKey(b"c" * 32), PrivateKey(b"t" * 32)
FIRST = Pairing(GATEWAY, ME, keys.derive(keys.pairwise(ROOT, GATEWAY, 0), keys.FAST_PATH))


def strong() -> Board:
    return Board(DEVICE.ccs, OWNER_CREDENTIAL.ccs)


class Cut(Exception):
    """The link is lost."""


class Peer:
    """Who connects: the owner, or a visitor.  Keeps its pairing as it must, and counts messages."""

    def __init__(self, name: bytes, identity: Identity | None, pairing: Pairing | None, seed: int) -> None:
        self.caller = Caller(name, identity)
        self.pairing = pairing
        self.random = Random(seed)
        self.link: DeviceLink
        self.session: Session
        self.cut_after = -1
        self.board: Board

    def _carry(self) -> None:
        if self.cut_after == 0:
            self.cut_after = -1
            self.board.device.disconnect(self.session)
            raise Cut
        self.cut_after -= 1

    def connect(self, board: Board, is_first: bool = False, sender: bytes = b"here") -> "Peer":
        """Connects, and both prove themselves."""
        self.board = board
        callee = CALLEE if self.caller.identity else Callee(ME, None)
        self.link = DeviceLink(self.caller, callee, self.pairing, self.random, is_first=is_first)
        self.session = board.device.connect(sender, board.now_ms)
        message = self.link.start(board.now_ms)
        while message:
            self._carry()
            answer = self.session.receive(message, board.now_ms)
            message = b""
            if answer:
                self._carry()
                step = self.link.receive(answer, board.now_ms)
                if step.save is not None:
                    self.pairing = step.save
                message = step.send
        return self

    def ask(self, command: int, *arguments: object) -> list[object]:
        request = self.link.ask(self.board.now_ms, command, *arguments)
        self._carry()
        answer = self.session.receive(request, self.board.now_ms)
        self._carry()
        return self.link.answer(answer, self.board.now_ms)

    def has_met(self) -> bool:
        return self.link.has_met

    def leave(self) -> None:
        self.board.device.disconnect(self.session)


def owner(pairing: Pairing | None = FIRST, seed: int = 100) -> Peer:
    return Peer(GATEWAY, Identity(OWNER_CREDENTIAL, GATEWAY_SEED), pairing, seed)


def weak_owner() -> Peer:
    return Peer(GATEWAY, None, FIRST, 100)


def visitor(key: PrivateKey = CAR, seed: int = 200) -> Peer:
    credential = edhoc_credential.make(key.public, b"\x03")
    return Peer(key.public, Identity(credential, key.seed, by_value=True), None, seed)


def with_grant_key(board: Board, epoch: int = 1) -> bytes:
    """The key of grants, as the gateway is given it; the device knows the time afterwards."""
    peer = owner(board.keys.pairing if board.keys.pairing.epoch else FIRST, seed=board.now_ms + 300)
    peer.connect(board)
    assert peer.ask(GRANT_KEY) == [board.keys.grant_epoch]
    said, key = peer.ask(GRANT_KEY, epoch)
    assert said == epoch
    assert isinstance(key, bytes)
    assert key == keys.derive(keys.pairwise(ROOT, GATEWAY, epoch), keys.GRANT)
    tell_time(peer, key, epoch)
    peer.leave()
    return key


def tell_time(peer: Peer, key: bytes, epoch: int = 1) -> None:
    (question,) = peer.ask(TIME)
    assert isinstance(question, bytes)
    word, _ = answer_time(question, GATEWAY, ME, key, epoch, TIME_MS + peer.board.now_ms)
    assert peer.ask(TIME, word) == []


GRANT_IDS = itertools.count()


def grant(key: bytes, subject: bytes = CAR.public, actions: int = OPEN | CLOSE, epoch: int = 1) -> bytes:
    made = Grant(
        *(next(GRANT_IDS) % 1000, subject, ME, actions, TIME_MS - 60_000, TIME_MS + 600_000),
        *(b"e" * 32, 5_000_000, epoch),
    )
    return issue(made, GATEWAY, key)


# Meeting


def test_a_gateway_meets_its_device_in_full_once_and_by_the_fast_path_from_then_on() -> None:
    board, gateway = strong(), owner()
    gateway.connect(board, is_first=True)
    assert gateway.has_met()
    assert gateway.link.sizes == [37, 45, 19, 9, 28, 36, 19]
    assert gateway.session.state == PROVED
    (status,) = gateway.ask(STATUS)
    assert not board.device.has_visitor()
    assert status == {
        "kind": "lock",
        "version": "7",
        "uptime_ms": 0,
        "actions": 3,
        "role": {"state": "down", "distance_mm": 1200, "fault": None},
    }
    gateway.leave()
    for epoch in (1, 2):
        board.start()
        gateway.connect(board)
        assert (gateway.has_met(), gateway.link.sizes) == (False, [28, 36, 19])
        assert gateway.ask(STATUS)[0] == status
        assert board.keys.pairing.epoch == epoch + 1
        gateway.leave()


def test_a_device_that_does_no_curves_is_met_by_the_fast_path_only() -> None:
    board, gateway = Board(), weak_owner()
    gateway.connect(board)
    assert gateway.ask(STATUS)[0]["kind"] == "lock"  # type: ignore[index]
    with pytest.raises(DeviceLinkError, match="it does no curves, so only the gateway"):
        visitor().connect(board)
    gateway.pairing = Pairing(GATEWAY, ME, b"lost" * 8)
    with pytest.raises(DeviceUnproven, match="cpc device re-enroll"):
        gateway.connect(board)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("cut", range(10))
def test_a_link_that_is_lost_at_any_message_is_made_good_by_the_next(is_first: bool, cut: int) -> None:
    board, gateway = strong(), owner()
    gateway.cut_after = cut
    try:
        gateway.connect(board, is_first)
        gateway.ask(STATUS)
    except Cut:
        assert board.device.sessions == []
    for again in range(2):
        board.start()
        gateway.cut_after = cut if again == 0 else -1
        try:
            gateway.connect(board)
            assert len(gateway.ask(STATUS)) == 1
            gateway.leave()
        except Cut:
            pass
    assert gateway.pairing is not None
    assert board.keys.pairing.encode() == gateway.pairing.encode()


@pytest.mark.parametrize("keep", [0, 40, 10_000])
@pytest.mark.parametrize("after", range(3))
def test_a_power_cut_at_any_write_loses_nobody(after: int, keep: int) -> None:
    board, gateway = strong(), owner()
    board.flash.slots("pairing-50000000").cut(after, keep)
    for is_first in (True, False, False):
        try:
            gateway.connect(board, is_first)
            gateway.ask(STATUS)
            gateway.leave()
        except PowerCut:
            board.start()
    gateway.connect(board)
    assert len(gateway.ask(STATUS)) == 1


def test_what_must_be_kept_is_in_flash_before_the_message_that_relies_on_it() -> None:
    board, gateway = strong(), owner()
    note = board.flash.slots("pairing-50000000")
    counts = []

    receive = Session.receive

    def watched(self: Session, data: bytes, now_ms: int) -> bytes:
        answer = receive(self, data, now_ms)
        counts.append((note.write_count, len(answer)))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "receive", watched)
        gateway.connect(board, is_first=True)
    # message_2, message_4 (kept), message 2, nothing (stepped).
    assert counts == [(0, 45), (1, 9), (1, 36), (2, 0)]


def test_a_flash_that_cannot_be_written_ends_the_session_and_not_the_device() -> None:
    board, gateway = strong(), owner()
    note = board.flash.slots("pairing-50000000")

    def broken(slot: int, data: bytes) -> None:
        raise OSError(28)

    write = note.write
    note.write = broken  # type: ignore[method-assign]
    with pytest.raises(DeviceLinkError, match="something in it failed"):
        gateway.connect(board)
    assert gateway.session.state == OVER
    gateway.leave()
    assert "OSError" in board.log.read(0, 1000)[1].decode()
    note.write = write  # type: ignore[method-assign]
    assert len(gateway.connect(board).ask(STATUS)) == 1


def test_a_device_whose_notes_are_lost_is_met_in_full_again() -> None:
    board, gateway = strong(), owner()
    gateway.connect(board)
    gateway.leave()
    gateway.connect(board)
    gateway.leave()
    board.flash.notes.clear()
    board.start()
    gateway.connect(board)
    assert gateway.has_met()
    assert gateway.ask(GRANT_KEY) == [-1]


def test_another_gateway_and_another_device_are_found_out() -> None:
    other = PrivateKey(b"o" * 32)
    stranger = Peer(
        GATEWAY,
        Identity(edhoc_credential.make(other.public, b"\x01", "did:cpc:gateway"), other.seed),
        None,
        1,
    )
    board = strong()
    with pytest.raises(DeviceUnproven, match="first meeting failed"):
        stranger.connect(board)
    assert stranger.session.state == OVER
    thief = strong()
    thief.keys._root = b"x" * 32
    with pytest.raises(DeviceUnproven, match="did not prove that it holds its key"):
        owner(None).connect(thief)
    assert board.keys.pairing.epoch == 0


# Grants


def test_a_visitor_opens_with_a_grant_and_sees_the_status_only_then() -> None:
    board = strong()
    key = with_grant_key(board)
    car = visitor().connect(board)
    assert car.has_met()
    with pytest.raises(DeviceRefused, match="only the gateway") as refused:
        car.ask(STATUS)
    assert refused.value.reason == commands.NOT_YOURS
    mine = grant(key)
    assert car.ask(GRANT, OPEN, mine) == []
    assert board.role.done == [(OPEN, CAR.public)]
    assert board.device.has_visitor()
    assert car.ask(STATUS)[0]["role"]["state"] == "down"  # type: ignore[index]
    for command, arguments in ((LOG, (0,)), (SETTINGS, ()), (OTA, (b"x",)), (REBOOT, ()), (GRANT_KEY, (9,))):
        with pytest.raises(DeviceRefused) as refused:
            car.ask(command, *arguments)
        assert refused.value.reason == commands.NOT_YOURS
    car.leave()
    # It is known now: the fast path, until the power goes.
    car.connect(board)
    assert not car.has_met()
    car.leave()
    board.start()
    car.connect(board)
    assert car.has_met()


def test_an_answer_that_was_lost_is_said_again_and_nothing_is_done_twice() -> None:
    board = strong()
    key = with_grant_key(board)
    car, mine = visitor().connect(board), grant(key)
    car.cut_after = 1
    with pytest.raises(Cut):
        car.ask(GRANT, OPEN, mine)
    car.connect(board)
    assert car.ask(GRANT, OPEN, mine) == []
    assert board.role.done == [(OPEN, CAR.public)]
    with pytest.raises(DeviceRefused, match="was used"):
        car.ask(GRANT, CLOSE, mine)
    truck = visitor(TRUCK, 201).connect(board)
    with pytest.raises(DeviceRefused, match="somebody else's"):
        truck.ask(GRANT, OPEN, mine)
    board.now_ms += 600_000
    car.connect(board)
    with pytest.raises(DeviceRefused, match="was used"):
        car.ask(GRANT, OPEN, mine)
    # After a restart nothing is remembered, and the number has passed.
    board.now_ms = 0
    board.start()
    with_grant_key(board)
    car.connect(board)
    with pytest.raises(DeviceRefused, match="was used, or is too old"):
        car.ask(GRANT, OPEN, mine)


def test_of_two_visitors_at_once_the_first_has_its_way_and_the_second_comes_again_with_the_same_grant() -> (
    None
):
    board = strong()
    key = with_grant_key(board)
    car, truck = visitor().connect(board), visitor(TRUCK, 201).connect(board)
    first, second = grant(key), grant(key, TRUCK.public)
    assert car.ask(GRANT, OPEN, first) == []
    with pytest.raises(DeviceRefused, match="a reason of its role: 64") as refused:
        truck.ask(GRANT, OPEN, second)
    assert refused.value.reason == Gate.OCCUPIED
    assert car.ask(GRANT, CLOSE, grant(key)) == []
    assert truck.ask(GRANT, OPEN, second) == []
    assert board.role.done == [(OPEN, CAR.public), (CLOSE, CAR.public), (OPEN, TRUCK.public)]


def test_both_of_two_who_carry_the_question_for_the_time_may_bring_the_answer() -> None:
    board = strong()
    gateway = owner().connect(board)
    key = gateway.ask(GRANT_KEY, 4)[1]
    assert isinstance(key, bytes)
    car = visitor().connect(board)
    (question,), (same,) = gateway.ask(TIME), car.ask(TIME)
    assert question == same
    assert isinstance(question, bytes)
    word, _ = answer_time(question, GATEWAY, ME, key, 4, TIME_MS)
    board.now_ms += 900
    assert car.ask(TIME, word) == []
    assert gateway.ask(TIME, word) == []
    with pytest.raises(DeviceRefused, match="was not made by the gateway"):
        car.ask(TIME, word[:-1] + bytes([word[-1] ^ 1]))
    assert board.keys.doorkeeper is not None
    assert board.keys.doorkeeper.clock.now(board.now_ms) == (TIME_MS - 1, TIME_MS + 901)


def test_before_the_gateway_has_named_an_epoch_no_grant_passes_and_a_later_epoch_revokes() -> None:
    board = strong()
    car = visitor().connect(board)
    for command, arguments in ((TIME, ()), (GRANT, (OPEN, b"x"))):
        with pytest.raises(DeviceRefused) as refused:
            car.ask(command, *arguments)
        assert refused.value.reason == commands.NOT_HERE
    car.leave()
    old = grant(with_grant_key(board, 1))
    with_grant_key(board, 2)
    car.connect(board)
    with pytest.raises(DeviceRefused, match="revoked"):
        car.ask(GRANT, OPEN, old)
    gateway = owner(board.keys.pairing).connect(board)
    with pytest.raises(DeviceRefused, match="revoked"):
        gateway.ask(GRANT_KEY, 1)
    board.start()
    assert board.keys.grant_epoch == 2


# Requests of the owner


def test_the_owner_reads_the_log_sets_settings_updates_and_restarts() -> None:
    board = strong()
    gateway = owner().connect(board)
    assert gateway.ask(SETTINGS) == [{"raise_ms": 4_000, "site": ""}]
    assert gateway.ask(SETTINGS, {"raise_ms": 5_000}) == [{"raise_ms": 5_000, "site": ""}]
    with pytest.raises(DeviceRefused, match="it has no such setting"):
        gateway.ask(SETTINGS, {"raise_ms": 1})
    assert gateway.ask(OTA, b"a" * 1024) == [(1024).to_bytes(4, "big")]
    with pytest.raises(DeviceRefused, match="cannot read"):
        gateway.ask(OTA, b"a" * 1025)
    first, said, after = gateway.ask(LOG, 0)
    assert (first, said) == (0, b"W 0 setting raise_ms cannot be 1\n")
    assert gateway.ask(LOG, after) == [after, b"", after]
    assert [board.device.answerer.is_ending] == [False]
    assert gateway.ask(REBOOT) == []
    assert board.device.answerer.is_ending
    gateway.leave()
    board.start()
    assert gateway.connect(board).ask(SETTINGS) == [{"raise_ms": 5_000, "site": ""}]


def test_a_failure_of_the_role_is_a_reason_and_a_line_in_the_log() -> None:
    board = strong()
    key = with_grant_key(board)
    board.role.fails = OSError(5)
    car = visitor().connect(board)
    mine = grant(key)
    with pytest.raises(DeviceRefused) as refused:
        car.ask(GRANT, OPEN, mine)
    assert refused.value.reason == commands.FAULT
    assert "E 0 command 3: OSError(5" in board.log.read(0, 2000)[1].decode()
    board.role.fails = None
    assert car.ask(GRANT, OPEN, mine) == []


# Strangers, garbage, time


def test_strangers_are_asked_for_a_cookie_then_turned_away_and_the_owner_comes_in_all_the_while() -> None:
    board = strong()
    message = DeviceLink(owner(None).caller, CALLEE, None, Random(1)).start(0)
    kinds = []
    for number in range(12):
        session = board.device.connect(bytes([number]), 0)
        answer = session.receive(message, 0)
        if answer[:2] == b"\x82\x00":
            answer = session.receive(b"\x83\x00\x49" + answer[3:] + b"\x58\x25" + message, 0)
        kinds.append((session.state, len(answer)))
        board.device.disconnect(session)
    assert kinds == [("meeting", 45)] * 4 + [("over", 3)] * 8
    assert session.receive(message, 0) == b""
    gateway = owner().connect(board)
    assert len(gateway.ask(STATUS)) == 1
    board.now_ms = session_module.MEETING_EVERY_MS
    gateway.connect(board, is_first=True)
    assert gateway.has_met()


def test_a_gateway_that_is_asked_for_a_cookie_says_it_and_is_let_in() -> None:
    board = strong()
    for number in range(session_module.UNASKED_BURST):
        board.device.disconnect(visitor(seed=number).connect(board).session)
    gateway = owner().connect(board, is_first=True)
    assert gateway.link.sizes == [37, 12, 51, 45, 19, 9, 28, 36, 19]
    assert len(gateway.ask(STATUS)) == 1


def test_names_that_are_not_known_are_tried_twice_and_no_more() -> None:
    session = strong().device.connect(b"x", 0)
    message = DeviceLink(owner().caller, CALLEE, Pairing(GATEWAY, ME, b"x" * 32), Random(1)).start(0)
    assert (session.receive(message, 0), session.state) == (b"\x81\x04", "fresh")
    assert (session.receive(message, 0), session.state) == (b"\x81\x04", OVER)
    assert session.receive(message, 0) == b""


def test_a_board_that_moves_its_motor_begins_no_curve_work() -> None:
    board = strong()
    board.role.moves = True
    with pytest.raises(DeviceLinkError, match="it is busy"):
        visitor().connect(board)
    assert len(owner().connect(board).ask(STATUS)) == 1


def test_a_stranger_keeps_no_place_that_others_want() -> None:
    board = strong()
    sessions = [board.device.connect(bytes([at]), 0) for at in range(SESSIONS_MAX - 1)]
    assert [one.tick(4_999) for one in sessions] == [b""] * (SESSIONS_MAX - 1)
    gateway = owner().connect(board)
    assert [one.tick(1_999) for one in sessions] == [b""] * (SESSIONS_MAX - 1)
    assert [one.tick(2_000) for one in sessions] == [commands.last_word(commands.TOO_SLOW)] * 2
    assert gateway.session.tick(IDLE_MS - 1) == b""
    assert gateway.session.tick(IDLE_MS) == commands.last_word(commands.TOO_SLOW)


def meeting(board: Board) -> Session:
    session = board.device.connect(b"x", 0)
    session.receive(DeviceLink(visitor().caller, CALLEE, None, Random(1)).start(0), 0)
    return session


def visiting(board: Board) -> Session:
    session = board.device.connect(b"x", 0)
    session.receive(DeviceLink(owner().caller, CALLEE, FIRST, Random(1)).start(0), 0)
    return session


def proved(board: Board) -> Session:
    return owner().connect(board).session


STATES: list[tuple[Callable[[Board], Session], int]] = [
    (lambda board: board.device.connect(b"x", 0), FRESH_MS),
    (meeting, MEETING_MS),
    (visiting, 5_000),
    (proved, IDLE_MS),
]


@pytest.mark.parametrize(("make", "wait_ms"), STATES)
def test_every_state_ends_in_time(make: Callable[[Board], Session], wait_ms: int) -> None:
    session = make(strong())
    state = session.state
    assert (session.tick(wait_ms - 1), session.state) == (b"", state)
    assert session.tick(wait_ms) == commands.last_word(commands.TOO_SLOW)
    assert (session.state, session.tick(wait_ms + 1), session.receive(b"x", 0)) == (OVER, b"", b"")


def test_a_visitor_without_a_grant_does_not_stay_by_asking() -> None:
    board = strong()
    with_grant_key(board)
    car = visitor().connect(board)
    board.now_ms = IDLE_MS - 1
    car.ask(TIME)
    assert car.session.tick(IDLE_MS) == commands.last_word(commands.TOO_SLOW)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=90), st.integers(0, 3))
def test_garbage_in_any_state_is_answered_by_a_declared_word_or_by_nothing(data: bytes, at: int) -> None:
    board = strong()
    session = STATES[at][0](board)
    answer = session.receive(data, 0)
    assert len(answer) <= 64
    if session.state != OVER:
        # An unknown name may be tried once more; a stranger with message_1 waits; no more is possible.
        assert answer == b"\x81\x04" or data[:1] in (b"\x03", b"\x83")
    gateway = owner(board.keys.pairing, 77).connect(board)
    assert len(gateway.ask(STATUS)) == 1


def test_every_flipped_bit_of_every_message_ends_the_session_on_both_sides() -> None:
    for bit in range(0, 8 * 45, 7):
        board, gateway = strong(), owner()
        left = [bit % 4]

        def flipped(self: Session, data: bytes, now_ms: int, bit: int = bit, left: list[int] = left) -> bytes:
            damaged = bytearray(data)
            if not left[0]:
                damaged[bit // 8 % len(data)] ^= 1 << bit % 8
            left[0] -= 1
            return RECEIVE(self, bytes(damaged), now_ms)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "receive", flipped)
            try:
                gateway.connect(board, is_first=True)
                gateway.ask(STATUS)
                raise AssertionError(f"bit {bit} made no difference")
            except DeviceLinkError:
                pass
        gateway.connect(board)
        assert len(gateway.ask(STATUS)) == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_garbage_to_the_gateway_is_a_declared_error(data: bytes) -> None:
    for is_first in (True, False):
        link = DeviceLink(owner().caller, CALLEE, FIRST, Random(1), is_first=is_first)
        link.start(0)
        try:
            step = link.receive(data, 0)
            assert data == b"\x81\x04" or data[:2] == b"\x82\x00"
            assert step.save is None
        except DeviceLinkError:
            assert link.state == "over"


def test_an_answer_is_of_its_request_and_a_silent_device_is_given_up() -> None:
    board = strong()
    gateway = owner().connect(board)
    gateway.link.ask(0, STATUS)
    with pytest.raises(DeviceLinkError, match="waits for an answer"):
        gateway.link.ask(0, STATUS)
    with pytest.raises(DeviceLinkError, match="silent for too long when proved"):
        gateway.link.tick(15_000)
    gateway.connect(board)
    gateway.link.ask(0, STATUS)
    with pytest.raises(DeviceLinkError, match="did not open"):
        gateway.link.answer(b"\x00" * 20, 0)
    gateway.connect(board)
    gateway.link.ask(0, STATUS)
    with pytest.raises(DeviceLinkError, match="it waited too long for us"):
        gateway.link.answer(commands.last_word(commands.TOO_SLOW), 0)
