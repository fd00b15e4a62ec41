"""A device's whole day in one script: a visit, a grant, a flood, a power cut; prints what came of each.

Runs on CPython and MicroPython.  Both must print the same.
"""

from puf import cbor
from puf.cookie import Cookies, Gate, Knock, TokenBucket
from puf.errors import FastPathError, GrantError, NotesError
from puf.fast_path import Initiator, Responder
from puf.fast_path_keys import Pairing, Pairings
from puf.grant import OPEN, Doorkeeper, Grant, answer_time, issue
from puf.keys import pairwise
from puf.notes import Notes
from puf.replay_window import Counter, ReplayWindow
from tests.puf.flash import Flash, PowerCut

ROOT = bytes(range(32))
CAR, LOCK, GATEWAY = b"car", b"lock", b"gateway"
NOW_MS = 1_790_000_000_000


def refusal(data: bytes, lock: Responder) -> str:
    """What a responder says against a message."""
    try:
        lock.receive(data, 0)
    except FastPathError as error:
        return f"{error.reason} {error.answer.hex()} {error}"
    return "taken"


def visits() -> None:
    """Four meetings, the second without its last message, and damage to each message."""
    known = Pairings(2)
    pairing = Pairing(CAR, LOCK, pairwise(ROOT, CAR, 0))
    known.add(pairing)
    known.add(Pairing(b"truck", LOCK, ROOT))
    messages = []
    for number in range(4):
        car = Initiator(pairing, bytes((number,)) * 16, 0)
        lock = Responder(known, bytes((number + 64,)) * 16, 0)
        first = car.start(0).send
        second = lock.receive(first, 0).send
        third = car.receive(second, 0)
        pairing = Pairing.decode(third.save.encode())
        print(first.hex(), second.hex(), third.send.hex(), third.session.export("test").hex())
        if number != 1:
            last = lock.receive(third.send, 0)
            print(last.save, last.session.receive_key == third.session.send_key)
        messages += [first, second, third.send]
    first = Initiator(pairing, bytes(16), 0).start(0).send
    for bit in range(0, 8 * len(first), 5):
        damaged = bytearray(first)
        damaged[bit // 8] ^= 1 << bit % 8
        print(refusal(bytes(damaged), Responder(known, bytes(16), 0)))
    messages += [b"", b"\x80", cbor.encode([1, 2]), bytes(100)]
    for data in messages:
        lock = Responder(known, bytes(16), 0)
        lock.receive(first, 0)
        print(refusal(data, lock))
    known.add(Pairing(b"van", LOCK, ROOT))
    print(len(known), known.current(b"truck"), known.current(CAR))
    try:
        Pairing.decode(b"\x80")
    except NotesError as error:
        print(error)


def grants() -> None:
    """The time, a good grant, and every damage to it."""
    flash = Flash()
    notes = Notes(flash, ROOT, "grants")
    keeper = Doorkeeper(GATEWAY, LOCK, ROOT, ReplayWindow(notes, 0))
    counter = Counter(Notes(Flash(), ROOT, "counter"), 0)
    good = issue(
        Grant(counter.take(), CAR, LOCK, OPEN, NOW_MS, NOW_MS + 60_000, b"e" * 32, 5, 0), GATEWAY, ROOT
    )
    print(good.hex())
    cases = [good]
    for bit in range(0, 8 * len(good), 37):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        cases.append(bytes(damaged))
    cases.append(good)
    answer, floor = answer_time(keeper.ask_time(bytes(16), 0), GATEWAY, LOCK, ROOT, 0, NOW_MS)
    for attempt in range(2):
        for data in cases:
            try:
                print(list(keeper.check(data, CAR, OPEN, 20)))
            except GrantError as error:
                print(error.reason, error)
        if not attempt:
            keeper.hear_time(answer, 10)
            print(keeper.clock.now(20), floor)
    window = ReplayWindow(Notes(flash, ROOT, "grants"))
    print(window.floor, window.accept(0), window.accept(100), window.accept(1 << 64))
    flash.cut(0, 7)
    try:
        window.accept(300)
    except PowerCut:
        print("cut", [slot.hex() for slot in flash.slots])
    print(ReplayWindow(Notes(flash, ROOT, "grants")).floor)


def flood() -> None:
    """Strangers, and one who answers."""
    gate = Gate(Cookies(ROOT, 0), TokenBucket(1, 1000, 0), TokenBucket(3, 1000, 0))
    knock = Knock(b"hello")
    for now_ms in (0, 1, 2, 9_999, 10_000, 20_000):
        verdict = gate.admit(CAR, b"hello", now_ms)
        print(verdict.kind, verdict.answer.hex())
        again = knock.again(verdict.answer) if now_ms in (1, 2) else None
        if again:
            print(gate.admit(CAR, again, now_ms).kind, gate.admit(LOCK, again, now_ms).kind)
    print(gate.admit(CAR, b"\x83\x00", 0).kind)


if __name__ == "__main__":
    visits()
    grants()
    flood()
