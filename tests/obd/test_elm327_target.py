"""Speaking through an adapter to one ECU: which commands direct it there, and back to everybody."""

from obd.query import Target, query
from tests.obd.stories import FOUND, Player


def commands_for(targets: list[Target | None], found: str = FOUND) -> list[str]:
    """What is written when these are asked for 22F190, one after the other."""
    player = Player()
    player.play(found)
    begin = len(player.trace)
    for target in targets:
        player.do(player.elm.ask(query(b"\x22\xf1\x90", target), 0))
        while not player.elm.is_ready:
            is_query = player.trace[-1] == "> 22F190"
            player.do(player.elm.receive(b"NO DATA\r\r>" if is_query else b"OK\r\r>", 0))
    return [line[2:] for line in player.trace[begin:] if line.startswith(">")]


def test_one_ecu_is_addressed_and_then_everybody_again() -> None:
    engine = Target(0x7E0, 0x7E8)
    assert commands_for([engine, engine, None, None]) == [
        *("ATSH7E0", "22F190", "22F190"),
        *("ATSH7DF", "22F190", "22F190"),
    ]


def test_an_ecu_with_ids_of_the_maker_needs_its_own_filter_and_flow_control() -> None:
    battery = Target(0x714, 0x77E)
    assert commands_for([battery, None]) == [
        *("ATSH714", "ATCRA77E", "ATFCSH714", "ATFCSD300000", "ATFCSM1", "22F190"),
        *("ATSH7DF", "ATAR", "ATFCSM0", "22F190"),
    ]


def test_ids_of_29_bits_are_set_in_two_parts() -> None:
    found = FOUND.replace("7E8064100", "18DAF110064100").replace("A6", "A7")
    assert commands_for([Target(0x18DA10F1, 0x18DAF110), None], found) == [
        *("ATCP18", "ATSHDA10F1", "22F190"),
        *("ATCP18", "ATSHDB33F1", "22F190"),
    ]


def test_an_adapter_that_cannot_address_says_so_and_nothing_is_asked_of_the_wrong_ecu() -> None:
    player = Player()
    player.play(FOUND)
    player.do(player.elm.ask(query(b"\x22\xf1\x90", Target(0x714, 0x77E)), 0))
    player.do(player.elm.receive(b"?\r\r>", 0))
    assert player.trace[-1] == "= not understood: ATSH714: ?"
    player.do(player.elm.ask(query(b"\x01\x0c"), 0))
    assert player.trace[-1] == "> ATSH7DF"
