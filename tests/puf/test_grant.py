"""Grants: a foreign library checks ours, and each thing that may be wrong with one has its reason."""

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.algorithms import HMAC256
from pycose.headers import KID, Algorithm
from pycose.keys.symmetric import SymmetricKey
from pycose.messages.mac0message import Mac0Message

from puf import cbor, cose_mac, grant
from puf.errors import DecodeError, GrantError, SignatureError
from puf.grant import CHARGE, OPEN, Doorkeeper, Grant, answer_time, issue
from puf.keys import pairwise
from puf.notes import Notes
from puf.replay_window import Counter, ReplayWindow
from tests.puf.flash import Flash
from tests.puf.messages import all_bits_flipped, all_truncated

GATEWAY, LOCK, CAR = b"gateway", b"lock", b"car"
ROOT = bytes(range(32))
KEY = pairwise(ROOT, GATEWAY, 0)
NOW_MS = 1_790_000_000_000
GOOD = Grant(7, CAR, LOCK, OPEN, NOW_MS - 60_000, NOW_MS + 600_000, b"\xee" * 32, 5_000_000, 0)

# The wire formats.  Changing one is a line in CHANGELOG.md.
GOLDEN = (
    "d184"  # tag 17, array of 4
    "581b"  # the protected header, 27 bytes:
    "a3"
    "0105"  # algorithm: HMAC 256/256
    "044400000000"  # key id: epoch 0
    "10706370632f6465766963652d6772616e74"  # type: "cpc/device-grant"
    "a0"  # the unprotected header
    "585b"  # payload, 91 bytes:
    "a7"
    "041a6ab13dd8"  # until
    "051a6ab13b44"  # not before
    "07480000000000000007"  # grant id
    "08a10343636172"  # who
    "3a00010000446c6f636b"  # device
    "3a0001000101"  # actions
    "3a00010002825820eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee1a004c4b40"  # deposit
    "5820"  # tag, 32 bytes:
    "973842ff73efa7cd091faca4844460fc63161e09eb8ebb66318b9374cfe077d1"
)


def window(flash: Flash | None = None, epoch: int | None = 0) -> ReplayWindow:
    return ReplayWindow(Notes(flash or Flash(), bytes(32), "grants"), epoch)


def doorkeeper(is_timed: bool = True, keeper_window: ReplayWindow | None = None) -> Doorkeeper:
    keeper_window = keeper_window or window()
    keeper = Doorkeeper(GATEWAY, LOCK, pairwise(ROOT, GATEWAY, keeper_window.epoch), keeper_window)
    return tell_time(keeper, keeper_window.epoch) if is_timed else keeper


def tell_time(keeper: Doorkeeper, epoch: int = 0, time_ms: int = NOW_MS, now_ms: int = 0) -> Doorkeeper:
    key = pairwise(ROOT, GATEWAY, epoch)
    answer, _ = answer_time(keeper.ask_time(b"n" * 16, now_ms), GATEWAY, LOCK, key, epoch, time_ms)
    keeper.hear_time(answer, now_ms)
    return keeper


def reason(keeper: Doorkeeper, data: bytes, who: bytes = CAR, action: int = OPEN, now_ms: int = 0) -> int:
    """Why it is refused; 0 when it is not."""
    try:
        keeper.check(data, who, action, now_ms)
    except GrantError as refused:
        return refused.reason
    return 0


# The format


def test_the_wire_format_is_golden() -> None:
    data = issue(GOOD, GATEWAY, KEY)
    assert data.hex() == GOLDEN
    assert len(data) == 159
    assert doorkeeper().check(data, CAR, OPEN, 0) == GOOD


def foreign(data: bytes, typ: str, aad: bytes) -> Any:
    tag = cbor2.loads(data)
    protected, unprotected, payload, mac = tag.value
    message: Any = Mac0Message.from_cose_obj(
        [protected, dict(unprotected), payload, mac], allow_unknown_attributes=True
    )
    assert tag.tag == message.cbor_tag == 17
    assert (message.phdr[Algorithm], message.phdr[KID], message.phdr[16]) == (HMAC256, bytes(4), typ)
    message.external_aad = aad
    message.key = SymmetricKey(k=KEY)
    return message


def test_a_foreign_library_checks_our_grant_and_the_time() -> None:
    aad = cbor2.dumps([GATEWAY, LOCK])
    message = foreign(issue(GOOD, GATEWAY, KEY), "cpc/device-grant", aad)
    assert message.verify_tag() is True
    claims = cbor2.loads(message.payload)
    assert (claims[4] * 1000, claims[5] * 1000) == (GOOD.until_ms, GOOD.not_before_ms)
    assert (claims[7], claims[8][3]) == (bytes(7) + b"\x07", CAR)
    message.external_aad = cbor2.dumps([GATEWAY, b"lock 2"])
    assert message.verify_tag() is False
    keeper = doorkeeper(is_timed=False)
    ask = keeper.ask_time(b"n" * 16, 0)
    assert foreign(ask, "cpc/time-request", aad).verify_tag() is True
    assert cbor2.loads(foreign(ask, "cpc/time-request", aad).payload) == [b"n" * 16, 0]
    answer, _ = answer_time(ask, GATEWAY, LOCK, KEY, 0, NOW_MS)
    assert foreign(answer, "cpc/time", aad).verify_tag() is True
    assert cbor2.loads(foreign(answer, "cpc/time", aad).payload) == [b"n" * 16, NOW_MS]
    assert (len(ask), len(answer)) == (86, 86)


def test_we_open_a_foreign_librarys_statement() -> None:
    message: Any = Mac0Message(phdr={Algorithm: HMAC256, KID: b"k", 16: "cpc/x"}, payload=b"theirs")
    message.key = SymmetricKey(k=KEY)
    parsed = cose_mac.parse_mac0(message.encode(), "cpc/x")
    parsed.check(KEY)
    assert (parsed.kid, parsed.typ, parsed.payload) == (b"k", "cpc/x", b"theirs")
    with pytest.raises(SignatureError, match="not made with our key"):
        parsed.check(ROOT)
    for other, aad in (("cpc/y", b""), ("cpc/x", b"a")):
        with pytest.raises((DecodeError, SignatureError)):
            cose_mac.parse_mac0(message.encode(), other, aad).check(KEY)


HEADER = cbor.encode({1: 5, 4: b"k", 16: "cpc/x"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (cbor.Tag(18, [HEADER, {}, b"", bytes(32)]), "not a COSE_Mac0"),
        ([HEADER, {}, b"", bytes(32)], "not a COSE_Mac0"),
        (cbor.Tag(17, [HEADER, {}, b""]), "array of four"),
        (cbor.Tag(17, [HEADER, {}, None, bytes(32)]), "byte strings"),
        (cbor.Tag(17, [HEADER, {4: b"k"}, b"", bytes(32)]), "unprotected header is not empty"),
        (cbor.Tag(17, [HEADER, {}, b"", bytes(8)]), "32 bytes, not 8"),
        (cbor.Tag(17, [b"", {}, b"", bytes(32)]), "ends before a value"),
        (cbor.Tag(17, [cbor.encode([1]), {}, b"", bytes(32)]), "not exactly HMAC"),
        (cbor.Tag(17, [cbor.encode({1: 4, 4: b"k", 16: "cpc/x"}), {}, b"", bytes(32)]), "not exactly HMAC"),
        (cbor.Tag(17, [cbor.encode({1: 5, 16: "cpc/x"}), {}, b"", bytes(32)]), "not exactly HMAC"),
        (
            cbor.Tag(17, [cbor.encode({1: 5, 2: [16], 4: b"k", 16: "cpc/x"}), {}, b"", bytes(32)]),
            "not exactly HMAC",
        ),
    ],
)
def test_what_is_no_statement_is_refused(value: object, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        cose_mac.parse_mac0(cbor.encode(value), "cpc/x")


# Reasons


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0),
        ({"deposit": b"", "amount_ucpc": 0}, 0),
        ({"actions": OPEN | CHARGE}, 0),
        ({"device": b"lock 2"}, grant.WRONG_DEVICE),
        ({"subject": b"car 2"}, grant.WRONG_SUBJECT),
        ({"actions": CHARGE}, grant.WRONG_ACTION),
        ({"not_before_ms": NOW_MS + 1_000}, grant.TOO_EARLY),
        ({"until_ms": NOW_MS}, grant.EXPIRED),
        ({"epoch": 1}, grant.EPOCH_UNKNOWN),
    ],
)
def test_each_fault_has_its_reason(change: dict[str, Any], expected: int) -> None:
    keeper = doorkeeper()
    assert reason(keeper, issue(GOOD._replace(**change), GATEWAY, KEY)) == expected
    # What was refused has used nothing up; what was not is used.
    assert reason(keeper, issue(GOOD, GATEWAY, KEY)) == (0 if expected else grant.REPLAYED)


def test_the_wrong_key_gateway_or_kind_is_forged() -> None:
    keeper = doorkeeper()
    other = pairwise(bytes(32), GATEWAY, 0)
    assert reason(keeper, issue(GOOD, GATEWAY, other)) == grant.FORGED
    assert reason(keeper, issue(GOOD, b"gateway 2", KEY)) == grant.FORGED
    assert reason(keeper, keeper.ask_time(b"n" * 16, 0)) == grant.FORMAT
    assert reason(keeper, cose_mac.mac0("cpc/device-grant", b"", b"k", KEY)) == grant.FORMAT


@pytest.mark.parametrize("action", [0, -1])
def test_nothing_is_no_action_and_uses_no_grant_up(action: int) -> None:
    keeper, data = doorkeeper(), issue(GOOD, GATEWAY, KEY)
    with pytest.raises(ValueError, match="one or more bits"):
        keeper.check(data, CAR, action, 0)
    assert keeper.check(data, CAR, OPEN, 0) == GOOD


def test_a_grant_opens_once_also_after_a_power_cut() -> None:
    flash = Flash()
    keeper = doorkeeper(keeper_window=window(flash))
    data = issue(GOOD, GATEWAY, KEY)
    assert reason(keeper, data) == 0
    assert reason(keeper, data) == grant.REPLAYED
    keeper = doorkeeper(keeper_window=window(flash, None))
    assert reason(keeper, data) == grant.REPLAYED
    assert reason(keeper, issue(GOOD._replace(grant_id=8), GATEWAY, KEY)) == grant.REPLAYED
    # The device says from where on it can tell, and the gateway goes on there.
    counter = Counter(Notes(Flash(), bytes(32), "counter"), 0)
    _, floor = answer_time(keeper.ask_time(b"n" * 16, 0), GATEWAY, LOCK, KEY, 0, NOW_MS)
    counter.skip_to(floor)
    assert reason(keeper, issue(GOOD._replace(grant_id=counter.take()), GATEWAY, KEY)) == 0


def test_a_later_epoch_revokes_every_grant_before_it_also_after_a_power_cut() -> None:
    flash = Flash()
    keeper = doorkeeper(keeper_window=window(flash))
    old = issue(GOOD, GATEWAY, KEY)
    keeper.renew(pairwise(ROOT, GATEWAY, 1), 1)
    new = issue(GOOD._replace(epoch=1), GATEWAY, pairwise(ROOT, GATEWAY, 1))
    assert reason(keeper, old) == grant.EPOCH_REVOKED
    assert reason(keeper, new) == 0
    again = doorkeeper(keeper_window=window(flash, None))
    assert (reason(again, old), reason(again, new)) == (grant.EPOCH_REVOKED, grant.REPLAYED)
    with pytest.raises(ValueError, match="not after 1"):
        again.renew(KEY, 1)
    with pytest.raises(GrantError) as refused:
        answer_time(again.ask_time(b"n" * 16, 0), GATEWAY, LOCK, KEY, 0, NOW_MS)
    assert refused.value.reason == grant.EPOCH_UNKNOWN
    with pytest.raises(GrantError) as refused:
        answer_time(doorkeeper().ask_time(b"n" * 16, 0), GATEWAY, LOCK, KEY, 1, NOW_MS)
    assert refused.value.reason == grant.EPOCH_REVOKED


# The time


def test_without_the_time_nothing_is_granted() -> None:
    keeper = doorkeeper(is_timed=False)
    data = issue(GOOD, GATEWAY, KEY)
    assert reason(keeper, data) == grant.TIME_UNKNOWN
    assert reason(tell_time(keeper), data) == 0


def test_the_time_is_known_up_to_the_wait_and_the_drift_and_for_a_day() -> None:
    keeper = doorkeeper(is_timed=False)
    assert keeper.clock.now(0) is None
    answer, _ = answer_time(keeper.ask_time(b"n" * 16, 1_000), GATEWAY, LOCK, KEY, 0, NOW_MS)
    keeper.hear_time(answer, 1_400)
    assert keeper.clock.now(1_400) == (NOW_MS - 1, NOW_MS + 401)
    assert keeper.clock.now(101_400) == (NOW_MS + 100_000 - 101, NOW_MS + 100_000 + 101 + 400)
    assert keeper.clock.now(1_399) is None
    assert keeper.clock.now(1_400 + grant.AGE_MS_MAX) is not None
    assert keeper.clock.now(1_401 + grant.AGE_MS_MAX) is None


@pytest.mark.parametrize(
    ("now_ms", "begin_ms", "until_ms", "expected"),
    [
        (100_000, 100_000, 200_000, 0),
        (100_000, 102_000, 200_000, grant.TOO_EARLY),
        # It may be 100 ms later than the device's clock says: one that may have ended has.
        (100_000, 0, 101_000, 0),
        (100_898, 0, 101_000, 0),
        (100_899, 0, 101_000, grant.EXPIRED),
        (101_000, 0, 101_000, grant.EXPIRED),
    ],
)
def test_a_grant_may_have_begun_and_must_not_have_ended(
    now_ms: int, begin_ms: int, until_ms: int, expected: int
) -> None:
    moved = GOOD._replace(not_before_ms=NOW_MS + begin_ms, until_ms=NOW_MS + until_ms)
    assert reason(doorkeeper(), issue(moved, GATEWAY, KEY), now_ms=now_ms) == expected


def test_only_the_answer_to_the_open_question_sets_the_clock_and_once() -> None:
    keeper = doorkeeper(is_timed=False)
    first = keeper.ask_time(b"1" * 16, 0)
    old, _ = answer_time(first, GATEWAY, LOCK, KEY, 0, NOW_MS - 10**9)
    second, _ = answer_time(keeper.ask_time(b"2" * 16, 5), GATEWAY, LOCK, KEY, 0, NOW_MS)
    refused = []
    for data, now_ms in ((old, 5), (b"\x00", 5), (first, 5), (second, 6), (second, 6), (old, 6)):
        try:
            keeper.hear_time(data, now_ms)
            refused.append(0)
        except GrantError as error:
            refused.append(error.reason)
    assert refused == [grant.STALE_TIME, 1, 1, 0, grant.STALE_TIME, grant.STALE_TIME]
    assert keeper.clock.now(6) == (NOW_MS - 1, NOW_MS + 2)
    late, _ = answer_time(keeper.ask_time(b"3" * 16, 10), GATEWAY, LOCK, KEY, 0, NOW_MS)
    with pytest.raises(GrantError, match="10001 ms on its way"):
        keeper.hear_time(late, 10_011)
    with pytest.raises(ValueError, match="fresh random"):
        keeper.ask_time(b"short", 0)


def test_a_forged_question_or_answer_is_refused() -> None:
    keeper = doorkeeper(is_timed=False)
    ask = keeper.ask_time(b"1" * 16, 0)
    answer, _ = answer_time(ask, GATEWAY, LOCK, KEY, 0, NOW_MS)
    for data in all_bits_flipped(ask):
        with pytest.raises(GrantError):
            answer_time(data, GATEWAY, LOCK, KEY, 0, NOW_MS)
    for data in (*all_bits_flipped(answer), *all_truncated(answer)):
        with pytest.raises(GrantError):
            keeper.hear_time(data, 0)
    keeper.hear_time(answer, 0)
    aad = cbor.encode([GATEWAY, LOCK])
    for payload in (b"", cbor.encode([b"1" * 16]), cbor.encode([b"1", 0]), cbor.encode([b"1" * 16, -1])):
        with pytest.raises(GrantError) as refused:
            keeper.hear_time(cose_mac.mac0("cpc/time", payload, bytes(4), KEY, aad), 0)
        assert refused.value.reason == grant.FORMAT


# Garbage


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    data = issue(GOOD, GATEWAY, KEY)
    keeper = doorkeeper()
    seen = {reason(keeper, bad) for bad in (*all_bits_flipped(data), *all_truncated(data), data + b"\x00")}
    assert seen == {grant.FORMAT, grant.EPOCH_UNKNOWN, grant.FORGED, grant.WRONG_DEVICE}
    assert reason(keeper, data) == 0


CLAIMS: dict[int, object] = {
    4: 20,
    5: 10,
    7: bytes(8),
    8: {3: CAR},
    -65537: LOCK,
    -65538: 1,
    -65539: [b"deposit", 5],
}


@pytest.mark.parametrize(
    "change",
    [
        *({4: 10}, {4: True}, {4: 2**41}, {4: -1}, {5: 20}, {5: 1.0}, {5: "10"}, {7: bytes(7)}, {7: 0}),
        *({8: {}}, {8: {3: b""}}, {8: {3: bytes(65)}}, {8: {1: CAR}}, {8: {3: CAR, 4: 0}}, {8: [CAR]}),
        *({-65537: b""}, {-65537: "lock"}, {-65538: 0}, {-65538: 65536}, {-65538: True}, {9: 0}),
        *({-65539: []}, {-65539: [b"", 5]}, {-65539: [b"d", -1]}, {-65539: [b"d", 5, 6]}, {-65539: None}),
    ],
    ids=repr,
)
def test_claims_that_are_not_those_of_a_grant_are_refused(change: dict[int, object]) -> None:
    aad = cbor.encode([GATEWAY, LOCK])
    good = cose_mac.mac0("cpc/device-grant", cbor.encode(CLAIMS), bytes(4), KEY, aad)
    bad = cose_mac.mac0("cpc/device-grant", cbor.encode({**CLAIMS, **change}), bytes(4), KEY, aad)
    assert reason(doorkeeper(), good) == grant.EXPIRED
    assert reason(doorkeeper(), bad) == grant.FORMAT


@pytest.mark.parametrize("kid", [b"", bytes(3), bytes(5)])
def test_an_epoch_has_one_spelling(kid: bytes) -> None:
    aad = cbor.encode([GATEWAY, LOCK])
    assert reason(doorkeeper(), cose_mac.mac0("cpc/device-grant", cbor.encode(CLAIMS), kid, KEY, aad)) == (
        grant.FORMAT
    )


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=150)
def test_garbage_is_no_grant(data: bytes) -> None:
    keeper = doorkeeper()
    aad = cbor.encode([GATEWAY, LOCK])
    assert reason(keeper, data) == grant.FORMAT
    assert reason(keeper, cose_mac.mac0("cpc/device-grant", data, bytes(4), KEY, aad)) == grant.FORMAT
    with pytest.raises(GrantError):
        keeper.hear_time(data, 0)
    with pytest.raises(GrantError):
        answer_time(data, GATEWAY, LOCK, KEY, 0, NOW_MS)


@pytest.mark.parametrize(
    "change",
    [{"until_ms": NOW_MS + 1}, {"subject": b""}, {"actions": 0}, {"not_before_ms": NOW_MS + 600_000}],
    ids=repr,
)
def test_a_grant_that_no_device_would_take_is_not_issued(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"whole seconds|no device would take"):
        issue(GOOD._replace(**change), GATEWAY, KEY)
