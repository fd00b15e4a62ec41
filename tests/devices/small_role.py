"""A small role and a small update, for boards of tests.

Runs on CPython and MicroPython.
"""

SETTINGS: "dict[str, tuple[int | str, int | None, int]]" = {
    "raise_ms": (4_000, 1_000, 20_000),
    "site": ("", None, 16),
}


class Gate:
    """A role: a gate for one, which opens for who comes first."""

    KIND = "lock"
    ACTIONS = 3
    OCCUPIED = 64
    SETTINGS = SETTINGS

    def __init__(self) -> None:
        self.done: list[tuple[int, bytes]] = []
        self.holder = b""
        self.moves = False
        self.fails: Exception | None = None

    def act(self, action: int, holder: bytes, now_ms: int) -> int:
        if self.fails is not None:
            raise self.fails
        if self.holder not in (b"", holder):
            return self.OCCUPIED
        self.holder = holder if action == 1 else b""
        self.done.append((action, holder))
        return 0

    def status(self) -> "dict[str, object]":
        return {"state": "down", "distance_mm": 1200, "fault": None}

    def is_moving(self, now_ms: int) -> bool:
        return self.moves


class Update:
    """Takes an update: answers with the offset that it wants next."""

    def __init__(self) -> None:
        self.data = b""

    def handle(self, body: bytes, now_ms: int) -> bytes:
        self.data += body
        return len(self.data).to_bytes(4, "big")
