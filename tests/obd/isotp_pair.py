"""Two ISO-TP endpoints on a pretended bus with a clock of its own, for tests.

Runs on CPython and MicroPython.
"""

from obd.action import Action
from obd.isotp import Failed, IsoTp, Received, Sent, Transmit


class Pair:
    """`a` and `b`, whose frames go to each other; what they say is in `told`."""

    def __init__(self, a: IsoTp, b: IsoTp, lost: "set[int] | None" = None) -> None:
        self.ends = (a, b)
        self.lost = lost or set()
        """Numbers of frames that the bus swallows."""
        self.now_us = 0
        self.frames: list[str] = []
        self.frame_times_us: list[int] = []
        self.told: list[tuple[str, Action]] = []

    def do(self, end: int, actions: list[Action]) -> None:
        """Carries out what an end wants."""
        for action in actions:
            if not isinstance(action, Transmit):
                self.told.append(("ab"[end], action))
                continue
            number = len(self.frames)
            self.frames.append(str(action.frame))
            self.frame_times_us.append(self.now_us)
            other = self.ends[1 - end]
            if number not in self.lost and other.address.accepts(action.frame):
                self.do(1 - end, other.receive(action.frame, self.now_us))

    def send(self, end: int, data: bytes) -> None:
        """Lets an end send."""
        self.do(end, self.ends[end].send(data, self.now_us))

    def run(self, steps_max: int = 100_000) -> None:
        """Lets time pass until nobody waits for anything."""
        for _ in range(steps_max):
            dues = [end.deadline_us for end in self.ends if end.deadline_us is not None]
            if not dues:
                return
            self.now_us = max(self.now_us, min(dues))
            for number in (0, 1):
                self.do(number, self.ends[number].tick(self.now_us))
        raise AssertionError("they never come to an end")

    def received(self, end: int) -> list[bytes]:
        """Messages that an end was given."""
        return [x.data for who, x in self.told if who == "ab"[end] and isinstance(x, Received)]

    def results(self, end: int) -> list[str]:
        """What an end says of messages that it sent, or could not take."""
        said = [x for who, x in self.told if who == "ab"[end] and isinstance(x, (Sent, Failed))]
        return [x.result if isinstance(x, Failed) else f"sent {x.size}" for x in said]
