"""The work of a device, one piece after the other, with the time that each took; prints JSON.

Runs on CPython and MicroPython.  `main(operation, count)` reads what the work is about from stdin, arguments
in hex, and does it `count` times; the result's hash is printed, too, so that interpreters can be compared.
"""

import gc
import json
import sys
import time

if hasattr(gc, "threshold"):
    # Code stays where it is loaded: garbage between its pieces would leave no room in one piece. A board's
    # boot does the same.
    gc.threshold(4096)

from puf import hkdf

CAR, LOCK, GATEWAY = b"car", b"lock", b"gateway"
KEY = bytes(range(32))
TIME_MS = 1_790_000_000_000


def now_us() -> int:
    """Microseconds that only go forward for a few minutes."""
    return time.ticks_us() if hasattr(time, "ticks_us") else time.perf_counter_ns() // 1000


def puf(args: "list[bytes]") -> "tuple[object, object]":
    """Reproduction of a key: helper data, then readouts."""
    from puf import helper_data
    from puf.fuzzy_extractor import reproduce

    helper = helper_data.from_bytes(args[0])

    def work(number: int) -> bytes:
        return reproduce(args[1 + number % (len(args) - 1)], helper)

    return (lambda number: None), (lambda number, state: work(number))


def edhoc(args: "list[bytes]") -> "tuple[object, object]":
    """The responder's part of EDHOC, from message_1 to the session: its seed, its peer's public key, .."""
    from puf import edhoc_credential
    from puf.edhoc import Identity, Responder, known
    from puf.x25519 import PrivateKey

    seed, peer, ephemeral, message_1, message_3 = args
    own = edhoc_credential.make(PrivateKey(seed).public, b"\x01")
    peers = known(edhoc_credential.make(peer, b"\x02"))

    def begin(number: int) -> object:
        return Responder(Identity(own, seed), peers, b"\x03", ephemeral)

    def work(number: int, responder: "Responder") -> bytes:
        message_2 = responder.receive(message_1)
        responder.receive(message_3)
        return message_2

    return begin, work


def fast_path(args: "list[bytes]") -> "tuple[object, object]":
    """The responder's part of the fast path, from message 1 to the session."""
    from puf.fast_path import Responder
    from puf.fast_path_keys import Pairing, Pairings

    nonce, message_1, message_3 = args

    def begin(number: int) -> object:
        known = Pairings(1)
        known.add(Pairing(CAR, LOCK, KEY))
        return Responder(known, nonce, 0)

    def work(number: int, responder: "Responder") -> bytes:
        message_2 = responder.receive(message_1, 0).send
        session = responder.receive(message_3, 0).session
        assert session is not None
        return bytes(message_2 + session.receive_key)

    return begin, work


def grant(args: "list[bytes]") -> "tuple[object, object]":
    """The check of a grant, each time another one."""
    from puf.grant import OPEN, Doorkeeper, answer_time
    from puf.notes import Notes, Slots
    from puf.replay_window import ReplayWindow

    class Memory(Slots):
        def __init__(self) -> None:
            self.slots = [b"", b""]

        def read(self, slot: int) -> bytes:
            return self.slots[slot]

        def write(self, slot: int, data: bytes) -> None:
            self.slots[slot] = data

    keeper = Doorkeeper(GATEWAY, LOCK, KEY, ReplayWindow(Notes(Memory(), KEY, "grants"), 0))
    answer, _ = answer_time(keeper.ask_time(bytes(16), 0), GATEWAY, LOCK, KEY, 0, TIME_MS)
    keeper.hear_time(answer, 0)

    def begin(number: int) -> object:
        return args[number]

    def work(number: int, data: bytes) -> bytes:
        return bytes(keeper.check(data, CAR, OPEN, 0).deposit)

    return begin, work


def pi(args: "list[bytes]") -> "tuple[object, object]":
    """65 digits of pi, the yardstick: Gibbons, "Unbounded spigot algorithms for the digits of pi" (2006)."""

    def work(number: int, state: object) -> bytes:
        q, r, s, t, k = 1, 0, 0, 1, 1
        digits = bytearray()
        while len(digits) < 65:
            digit = (3 * q + r) // (3 * s + t)
            if digit == (4 * q + r) // (4 * s + t):
                digits.append(digit)
                q, r = 10 * q, 10 * (r - digit * t)
            else:
                q, r, s, t = (
                    q * k,
                    q * (4 * k + 2) + r * (2 * k + 1),
                    s * k,
                    s * (4 * k + 2) + t * (2 * k + 1),
                )
                k += 1
        return bytes(digits)

    return (lambda number: None), work


OPERATIONS = {"puf": puf, "edhoc": edhoc, "fast-path": fast_path, "grant": grant, "pi": pi}


def measure(operation: str, count: int, args: "list[bytes]") -> "dict[str, object]":
    """Times in microseconds, the hash of the results, and what was imported for it."""
    begin, work = OPERATIONS[operation](args)
    if hasattr(gc, "threshold"):
        gc.threshold(-1)
    spent_us = []
    said = b""
    for number in range(count):
        state = begin(number)  # type: ignore[operator]
        gc.collect()
        began_us = now_us()
        result = work(number, state)  # type: ignore[operator]
        spent_us.append(now_us() - began_us)
        said = hkdf.sha256(said + result)
    modules = sorted([name for name in sys.modules if name.startswith("puf.")])
    return {"us": spent_us, "digest": said.hex(), "modules": modules}


def main(operation: str, count: int) -> None:
    """Prints what `measure` finds."""
    args = [bytes.fromhex(line.strip()) for line in sys.stdin]
    print(json.dumps(measure(operation, count, args)))
