"""Cookies: only who hears the answer gets work done, and a device under a flood keeps nothing."""

import hashlib
import hmac

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor
from puf.cookie import (
    ADMITTED,
    CHALLENGED,
    COOKIE_BYTES,
    DROPPED,
    SLOT_MS,
    Cookies,
    Gate,
    Knock,
    TokenBucket,
    Verdict,
)
from puf.errors import CookieError, DecodeError
from tests.puf.messages import all_bits_flipped, all_truncated

SECRET = bytes(range(32))
HERE, THERE = b"02:00:00:00:00:01", b"02:00:00:00:00:02"
MESSAGE = bytes.fromhex("8301488b0545666efbf1225011111111111111111111111111111111")

# A demand.  Changing it is a line in CHANGELOG.md.
GOLDEN = "820049cc"


def gate(quiet: int = 2, total: int = 100, now_ms: int = 0) -> Gate:
    return Gate(Cookies(SECRET, now_ms), TokenBucket(quiet, 1_000, now_ms), TokenBucket(total, 1_000, now_ms))


def test_a_demand_is_golden_and_shorter_than_what_it_answers() -> None:
    now_ms = 0xABCC * SLOT_MS + 5
    door = gate(quiet=0, now_ms=now_ms)
    said = cbor2.dumps(["cpc/cookie", 0xABCC, HERE, hashlib.sha256(MESSAGE).digest()])
    mac = hmac.digest(SECRET, said, "sha256")[:8]
    verdict = door.admit(HERE, MESSAGE, now_ms)
    assert verdict == Verdict(CHALLENGED, b"", bytes.fromhex(GOLDEN) + mac)
    assert len(verdict.answer) == 12 < len(MESSAGE)


def test_a_cookie_is_good_for_its_sender_and_message_in_two_slots() -> None:
    for born_ms in (0, 1, SLOT_MS - 1):
        for age_ms in (0, 1, SLOT_MS - 1, SLOT_MS, 2 * SLOT_MS - 1, 2 * SLOT_MS, 3 * SLOT_MS, 700 * SLOT_MS):
            cookies = Cookies(SECRET, 0)
            cookie = cookies.make(HERE, MESSAGE, born_ms)
            is_young = (born_ms + age_ms) // SLOT_MS <= 1
            assert cookies.is_good(cookie, HERE, MESSAGE, born_ms + age_ms) == is_young
    cookies = Cookies(SECRET, 0)
    cookie = cookies.make(HERE, MESSAGE, 0)
    assert not cookies.is_good(cookie, THERE, MESSAGE, 0)
    assert not cookies.is_good(cookie, HERE, MESSAGE + b"\x00", 0)
    assert not Cookies(bytes(32), 0).is_good(cookie, HERE, MESSAGE, 0)
    for data in (*all_bits_flipped(cookie), *all_truncated(cookie), cookie + b"\x00"):
        assert not cookies.is_good(data, HERE, MESSAGE, 0)
        assert not cookies.is_good(data, HERE, MESSAGE, SLOT_MS)


def test_old_secrets_are_gone_and_a_clock_that_goes_back_changes_nothing() -> None:
    cookies = Cookies(SECRET, 0)
    old = cookies.make(HERE, MESSAGE, 0)
    new = cookies.make(HERE, MESSAGE, 256 * SLOT_MS)
    assert new[0] == old[0]
    assert new != old
    assert cookies.is_good(new, HERE, MESSAGE, 0)
    assert not cookies.is_good(old, HERE, MESSAGE, 0)
    kept = [getattr(cookies, name) for name in ("_present", "_past")]
    assert SECRET not in kept


def test_a_secret_of_another_length_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="32 fresh"):
        Cookies(b"short", 0)


STORY = """\
     0 here  hello          -> admitted
     1 here  hello          -> admitted
     2 here  hello          -> challenged
     3 here  with cookie    -> admitted
     4 there with cookie    -> challenged
     5 here  with cookie    -> admitted
     6 here  with cookie    -> dropped
  1002 here  hello          -> admitted
  1003 here  hello          -> challenged
 25000 here  with cookie    -> challenged
"""


def test_a_story_of_load() -> None:
    """Two strangers at once are served; then cookies are demanded; four in all are the most there is."""
    door = gate(quiet=2, total=4)
    knock, told, wrapped = Knock(MESSAGE), "", b""
    for line in STORY.splitlines():
        at, who, what = line.partition("->")[0].split(maxsplit=2)
        data = MESSAGE if what.strip() == "hello" else wrapped
        verdict = door.admit(HERE if who == "here" else THERE, data, int(at))
        if verdict.kind == CHALLENGED and not wrapped:
            wrapped = knock.again(verdict.answer) or b""
        assert verdict.message == (MESSAGE if verdict.kind == ADMITTED else b"")
        assert bool(verdict.answer) == (verdict.kind == CHALLENGED)
        told += f"{line.partition('->')[0]}-> {verdict.kind}\n"
    assert told == STORY


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(3, 100, 1_000)
    taken = [now_ms for now_ms in range(1_000, 2_001, 10) if bucket.take(now_ms)]
    assert taken == [1_000, 1_010, 1_020, *range(1_100, 2_001, 100)]
    assert [bucket.take(now_ms) for now_ms in (500, 500, 550, 600, 10_000, 10_000, 10_000, 10_000)] == [
        # It was full of nothing at 2,000, and has to get past that again.
        *(False, False, False, False, True, True, True, False)
    ]


def test_a_clock_that_goes_back_and_forth_fills_no_bucket() -> None:
    bucket = TokenBucket(1, 100, 10_000)
    assert [bucket.take(now_ms) for now_ms in (10_000, 0, 10_000, 0, 10_000, 10_100)] == [
        *(True, False, False, False, False, True)
    ]


@pytest.mark.parametrize("size", [3, 490, 498, 511, 512])
def test_the_longest_message_passes_with_its_cookie_as_without(size: int) -> None:
    message = b"m" * size
    door = gate(quiet=1)
    assert door.admit(HERE, message, 0).kind == ADMITTED
    demand = door.admit(HERE, message, 0)
    assert demand.kind == CHALLENGED
    verdict = door.admit(HERE, Knock(message).again(demand.answer) or b"", 0)
    assert (verdict.kind, verdict.message) == (ADMITTED, message)


def test_a_longer_message_passes_in_no_form() -> None:
    door = gate(quiet=9)
    message = b"m" * 513
    assert door.admit(HERE, message, 0).kind == DROPPED
    assert door.admit(HERE, cbor.encode([0, bytes(9), message]), 0).kind == DROPPED


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_garbage_is_let_in_unread_or_dropped_and_costs_no_memory(data: bytes) -> None:
    def kind(data: bytes) -> str:
        """Of what comes from a stranger without a cookie of ours: what is formed right is asked for one."""
        try:
            value = cbor.decode(data)
        except DecodeError:
            return DROPPED
        assert isinstance(value, list)
        _, cookie, message = value
        is_formed = isinstance(cookie, bytes) and len(cookie) == 9 and isinstance(message, bytes)
        return CHALLENGED if is_formed else DROPPED

    door = gate(quiet=1)
    assert door.admit(HERE, data, 0).kind == (kind(data) if data[:2] == b"\x83\x00" else ADMITTED)
    wrapped = b"\x83\x00" + data
    assert door.admit(HERE, wrapped, 0).kind == kind(wrapped)


@pytest.mark.parametrize(("cookie_bytes", "kind"), [(8, DROPPED), (9, CHALLENGED), (10, DROPPED)])
def test_a_cookie_of_another_length_is_none(cookie_bytes: int, kind: str) -> None:
    assert gate().admit(HERE, cbor.encode([0, bytes(cookie_bytes), MESSAGE]), 0).kind == kind


def test_a_damaged_cookie_or_message_is_not_let_in() -> None:
    door = gate(quiet=0)
    wrapped = Knock(MESSAGE).again(door.admit(HERE, MESSAGE, 0).answer)
    assert wrapped is not None
    for data in (*all_bits_flipped(wrapped), *all_truncated(wrapped), wrapped + b"\x00"):
        assert door.admit(HERE, data, 0).kind in (CHALLENGED, DROPPED)
    assert door.admit(HERE, wrapped, 0) == Verdict(ADMITTED, MESSAGE, b"")
    assert door.admit(HERE, bytes(513), 0).kind == DROPPED


def test_a_million_strangers_leave_nothing_behind() -> None:
    door = gate(quiet=5, total=10)
    kinds = [door.admit(number.to_bytes(6, "big"), MESSAGE, 0).kind for number in range(1_000)]
    assert (kinds.count(ADMITTED), kinds.count(CHALLENGED)) == (5, 995)
    assert all(not hasattr(value, "__len__") for value in vars(door).values())


def test_a_stranger_answers_two_demands_and_no_third() -> None:
    knock = Knock(MESSAGE)
    demand = cbor.encode([0, bytes(COOKIE_BYTES)])
    assert knock.again(demand) == knock.again(demand) == cbor.encode([0, bytes(COOKIE_BYTES), MESSAGE])
    with pytest.raises(CookieError, match="try again later"):
        knock.again(demand)


@given(st.binary(max_size=20) | st.lists(st.integers(0, 1) | st.binary(max_size=10)).map(cbor.encode))
@settings(deadline=None, max_examples=100)
def test_what_is_no_demand_is_for_the_handshake(data: bytes) -> None:
    is_demand = len(data) == 12 and data[:3] == b"\x82\x00\x49"
    assert (Knock(MESSAGE).again(data) is not None) == is_demand
