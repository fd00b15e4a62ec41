"""Cuts the power at every write of an update, a trial, a confirmation and a rollback; prints what came of it.

Runs on MicroPython.  A flash in memory records each program and erase.  For each of them the flash is made as
it was after the one before, and once with a half of it done; MicroPython's LittleFS mounts that, the real
boot.py runs from it, and something must start.  Starts write, too: each of those writes is cut as well.
Then the update is finished, and must be what runs.

    crash_flash.py IMAGE UPDATE PUBLISHER BLOCKS EVERY      EVERY: finish the update at each such cut
"""

import gc
import json
import os
import sys

import vfs

from devices.micropython.ota_receiver import BEGIN, DATA, GO, STAGED, WANT, WORKING, Receiver
from puf import cbor

if sys.implementation.name != "micropython":
    # For annotations only.
    Log = list[tuple[int, bytes | None]]

BLOCK_BYTES = 4096
MOUNT = "/flash"
VERSION_OLD, VERSION_NEW = 1, 2


class Flash:
    """A block device in memory.  `log`: None, or a list that takes every write from now on."""

    def __init__(self, content: bytearray) -> None:
        self.content = content
        self.log: list[tuple[int, bytes | None]] | None = None

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * BLOCK_BYTES + offset
        buffer[:] = memoryview(self.content)[at : at + len(buffer)]

    def writeblocks(self, block: int, buffer: bytes, offset: "int | None" = None) -> None:
        if offset is None:
            self.ioctl(6, block)
            offset = 0
        self.write((block * BLOCK_BYTES + offset, bytes(buffer)))

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 4:
            return len(self.content) // BLOCK_BYTES
        if operation == 5:
            return BLOCK_BYTES
        if operation == 6:
            self.write((argument * BLOCK_BYTES, None))
        return 0

    def write(self, change: "tuple[int, bytes | None]") -> None:
        if self.log is not None:
            self.log.append(change)
        apply(self.content, change)


ERASED = b"\xff" * BLOCK_BYTES


def apply(content: bytearray, change: "tuple[int, bytes | None]", is_torn: bool = False) -> None:
    """One write; torn: its first half only."""
    at, data = change
    if data is None:
        data = ERASED
    if is_torn:
        data = data[: len(data) // 2]
    content[at : at + len(data)] = data


class Reset(Exception):
    """The board starts anew."""


class Memory:
    """RTC slow memory with a pattern in it."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}

    def __getitem__(self, address: int) -> int:
        return self.words.get(address, (address * 2654435761 ^ 0x5A5A1234) & 0xFFFFFFFF)

    def __setitem__(self, address: int, word: int) -> None:
        self.words[address] = word


class Watchdog:
    def __init__(self, timeout: int) -> None:
        self.timeout = timeout

    def feed(self) -> None:
        pass


class Machine:
    """As much of MicroPython's `machine` as a start uses."""

    PWRON_RESET, DEEPSLEEP_RESET = 1, 4
    WDT = Watchdog

    def __init__(self) -> None:
        self.mem32 = Memory()

    def reset_cause(self) -> int:
        return self.PWRON_RESET

    def reset(self) -> None:
        raise Reset


class Collector:
    """MicroPython's `gc`, but for the threshold: the heap here is far larger than a board's."""

    collect = staticmethod(gc.collect)
    threshold = staticmethod(lambda bytes_: None)


class Report:
    """Where the firmware in the slots says that it runs; it confirms itself when it `is_healthy`."""

    def __init__(self, is_healthy: bool) -> None:
        self.is_healthy = is_healthy
        self.started: tuple[int, str, bool] | None = None


OURS = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("puf", "devices")}
PATH = list(sys.path)


def mounted(content: bytearray) -> Flash:
    flash = Flash(content)
    vfs.mount(vfs.VfsLfs2(flash), MOUNT)
    os.chdir(MOUNT)
    return flash


def unmount() -> None:
    os.chdir("/")
    vfs.umount(MOUNT)


def forget_ours() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in ("puf", "devices"):
            del sys.modules[name]


def start(content: bytearray, is_healthy: bool, log: "Log | None" = None) -> "tuple[int, str, bool] | None":
    """Power on: (version, slot, is_trial) of what started; None: nothing did."""
    flash = mounted(content)
    flash.log = log
    forget_ours()
    report = sys.modules["report"] = Report(is_healthy)  # type: ignore[assignment]
    sys.modules["machine"] = Machine()  # type: ignore[assignment]
    sys.modules["gc"] = Collector  # type: ignore[assignment]
    scope = {"__name__": "__main__"}
    try:
        for name in ("boot.py", "main.py"):
            with open(name) as file:
                exec(file.read(), scope)  # noqa: S102  as a board runs them
    except Reset:
        pass
    finally:
        forget_ours()
        sys.modules.update(OURS)
        sys.modules["gc"] = gc
        sys.path[:] = PATH
        unmount()
    return report.started


def update(content: bytearray, data: bytes, publisher: bytes, log: "Log | None" = None) -> int:
    """Brings the update to its end; the number of pieces sent."""
    flash = mounted(content)
    flash.log = log
    size = data[1] + 2 if data[0] == 0x58 else (data[1] << 8 | data[2]) + 3
    receiver = Receiver(MOUNT + "/", publisher, "lock", "esp32")
    body: list[object] = [BEGIN, cbor.decode(data[:size])]
    count = 0
    while True:
        answer = cbor.decode(receiver.handle(cbor.encode(body), 0))
        assert isinstance(answer, list)
        code, offset, _ = answer
        if code == WANT:
            body = [DATA, offset, data[size + offset : size + offset + 700]]
            count += 1
        elif code == WORKING:
            body = [GO]
        else:
            break
    unmount()
    if code != STAGED:
        raise AssertionError(f"the update ended with {code}")
    return count


def must(truth: bool, *what: object) -> None:
    if not truth:
        raise AssertionError(" ".join(str(part) for part in what))


def record(content: bytearray, data: bytes, publisher: bytes, is_healthy: bool) -> "tuple[Log, int]":
    """All writes of an update and of the starts after it; and how many are of the update itself."""
    log: Log = []
    update(content, data, publisher, log)
    update_count = len(log)
    for _ in range(1 if is_healthy else 4):
        start(content, is_healthy, log)
    return log, update_count


def check(
    content: bytearray,
    data: bytes,
    publisher: bytes,
    is_healthy: bool,
    does_finish: bool,
    where: "tuple[object, ...]",
) -> int:
    """What must hold whatever was written last.  The version that started."""
    after = bytearray(content)
    log: Log = []
    first = start(after, is_healthy, log)
    if first is None:
        raise AssertionError(f"nothing started {where}")
    # The power fails again while it starts.
    again = bytearray(content)
    for index, change in enumerate(log):
        for is_torn in (False, True):
            cut = bytearray(again)
            if is_torn:
                apply(cut, change, True)
            must(start(cut, is_healthy) is not None, "nothing started after a second cut", where, index)
        apply(again, change)
    if is_healthy:
        if does_finish:
            if first[0] == VERSION_OLD:
                update(after, data, publisher)
                begun = start(after, True)
                must(
                    begun is not None and begun[:2] == (VERSION_NEW, "b"),
                    "the finished update did not start",
                    where,
                )
            must(start(after, True) == (VERSION_NEW, "b", False), "the update was not kept", where)
    elif log or first[2]:
        # Else nothing is on trial, and the next start is as this one.
        last: tuple[int, str, bool] | None = first
        for _ in range(4):
            last = start(after, False)
            must(last is not None, "nothing started on the way back", where)
        must(last == (VERSION_OLD, "a", False), "it did not come back", where, last)
    return first[0]


def run(
    content: bytearray, data: bytes, publisher: bytes, is_healthy: bool, every: int
) -> "dict[str, object]":
    before = bytearray(content)
    log, update_count = record(content, data, publisher, is_healthy)
    versions: list[int] = []
    for index, change in enumerate(log):
        for is_torn in (False, True):
            now = before
            if is_torn:
                now = bytearray(before)
                apply(now, change, True)
            does_finish = (2 * index + is_torn) % every == 0
            where = ("at write", index, "torn" if is_torn else "clean", "healthy" if is_healthy else "sick")
            found = check(now, data, publisher, is_healthy, does_finish, where)
            if not versions or versions[-1] != found:
                versions.append(found)
        apply(before, change)
        if index % 16 == 0:
            gc.collect()
    return {"writes": len(log), "of_update": update_count, "versions": versions}


def main(image_path: str, update_path: str, publisher_hex: str, blocks: str, every: str) -> None:
    with open(image_path, "rb") as file:
        image = file.read()
    with open(update_path, "rb") as file:
        data = file.read()
    publisher = bytes.fromhex(publisher_hex)
    found = {}
    for is_healthy in (True, False):
        content = bytearray(b"\xff" * (BLOCK_BYTES * int(blocks)))
        content[: len(image)] = image
        must(start(content, True) == (VERSION_OLD, "a", False), "the image does not start")
        found["confirm" if is_healthy else "rollback"] = run(content, data, publisher, is_healthy, int(every))
    print(json.dumps(found))


main(*sys.argv[1:])
