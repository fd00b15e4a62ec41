"""The door: what is held against strangers shuts it, members never do, and a proposer never shuts."""

from chain_node.messages import WantChain
from chain_node.peer import COSTS_SHARED
from chain_node.peer_admission import BAN_MS, CONNECTS_SHUT, POINTS_BRIEF, POINTS_MAX
from chain_node.peer_door import BRIEF_MS, Door
from chain_node.shutter import OPEN_MIN_MS, SHUT_MIN_MS, Load

LIAR = bytes(32)


def flooded(door: Door, load: Load = Load.HANDSHAKES, seconds: int = 20) -> bool:
    """Whether it shuts at a flood of this kind; at the end of it."""
    is_shut_now = False
    for second in range(seconds):
        for number in range(400):
            if load == Load.HANDSHAKES:
                door.welcomes(f"198.51.{second}.{number % 200}", second * 1_000)
            elif load == Load.REFUSALS:
                door.refused(second * 1_000)
            elif load == Load.BYTES:
                door.bytes_owed_ms("198.51.100.7", 1 << 14, second * 1_000)
            else:
                door.misbehaved(f"198.51.{second}.{number % 200}", LIAR, second * 1_000, is_stranger=True)
        is_shut_now |= door.tick((second + 1) * 1_000)
    return is_shut_now


def test_every_kind_of_flood_shuts_a_validator_once() -> None:
    for load in Load:
        door = Door(0, may_shut=True)
        assert flooded(door, load)
        assert (door.is_shut, door.shutter.cause, door.shutter.shut_count) == (True, load, 1)


def test_one_address_alone_shuts_nobody() -> None:
    """It connects, misbehaves and sends as much as it is let, and comes back as soon as it may."""
    door, read_again_ms = Door(0, may_shut=True), 0
    for now_ms in range(0, 600_000, 10):
        for _ in range(5):
            if door.welcomes("198.51.100.7", now_ms):
                door.misbehaved("198.51.100.7", LIAR, now_ms, is_stranger=True)
        if now_ms >= read_again_ms:
            read_again_ms = now_ms + door.bytes_owed_ms("198.51.100.7", 1 << 18, now_ms)
        assert now_ms % 1_000 or not door.tick(now_ms)
    patient = Door(0, may_shut=True)
    for now_ms in range(0, 600_000, 10):
        for _ in range(5):
            patient.welcomes("198.51.100.7", now_ms)
        assert now_ms % 1_000 or not patient.tick(now_ms)


def test_who_may_not_shut_stays_open_and_members_shut_nobody() -> None:
    proposer = Door(0, may_shut=False)
    assert not flooded(proposer)
    assert not proposer.is_shut
    door = Door(0, may_shut=True)
    for second in range(20):
        for _ in range(400):
            door.misbehaved("198.51.100.7", LIAR, second * 1_000, is_stranger=False)
        assert not door.tick((second + 1) * 1_000)
    assert door.welcomes("198.51.100.7", 0), "nor is a member's address in disgrace"


def test_a_stranger_that_misbehaves_is_kept_away_with_its_household() -> None:
    door = Door(0, may_shut=True)
    assert door.misbehaved("2001:db8:1:2::3", LIAR, 0, is_stranger=True) == BAN_MS
    assert door.misbehaved("198.51.100.7", None, 0, is_stranger=True) == 0, "without a key only the address"
    hosts = ("2001:db8:1:2:9:9:9:9", "198.51.100.7", "2001:db8:1:3::3", "::ffff:198.51.100.7")
    assert [door.welcomes(host, 1) for host in hosts] == [False, False, True, False]
    assert door.admission.is_banned(LIAR, 1)


def test_only_connections_that_came_to_nothing_count_against_an_address() -> None:
    door = Door(0, may_shut=True)
    for _ in range(POINTS_MAX // POINTS_BRIEF):
        door.ended("198.51.100.7", 0, BRIEF_MS)
    assert door.welcomes("198.51.100.7", BRIEF_MS)
    for _ in range(POINTS_MAX // POINTS_BRIEF):
        door.ended("198.51.100.7", 1, BRIEF_MS)
    assert not door.welcomes("198.51.100.7", BRIEF_MS)


def test_it_opens_by_itself_and_takes_transactions_again() -> None:
    door = Door(0, may_shut=True)
    flooded(door, seconds=11)
    shut_ms = OPEN_MIN_MS
    assert [door.busy_ms(shut_ms, is_local=each) for each in (False, True)] == [SHUT_MIN_MS, 0]
    strangers = sum(door.welcomes(f"198.51.{each}.9", shut_ms + 1_000) for each in range(100, 150))
    assert strangers <= CONNECTS_SHUT.burst
    for second in range(12, 42):
        assert not door.tick(second * 1_000)
    assert (door.is_shut, door.busy_ms(42_000, is_local=False)) == (False, 0)
    assert door.welcomes("203.0.113.1", 42_000)


def test_where_the_flood_comes_by_requests_this_machines_own_wait_as_well() -> None:
    door = Door(0, may_shut=True)
    flooded(door, Load.REFUSALS)
    assert door.busy_ms(20_000, is_local=True) == door.busy_ms(20_000, is_local=False) > 0


def test_plain_nodes_share_what_they_may_cost() -> None:
    door, cost = Door(0, may_shut=True), COSTS_SHARED[WantChain.KIND]
    assert sum(door.has_room(WantChain.KIND, 1, 0) for _ in range(cost.burst + 9)) == cost.burst
