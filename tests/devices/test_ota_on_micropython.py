"""A whole role's worth of files goes into a board's heap and out of it: under MicroPython, with 128 KiB."""

import json
import random
from pathlib import Path

from devices.firmware_build import write_tree
from devices.firmware_pack import marker, pack, read_files
from devices.micropython import slots
from devices.micropython.slots import NONE, Slots, State
from puf.ed25519 import SigningKey
from tests.devices import compiled

SCRIPT = Path(__file__).with_name("update_on_board.py")
KEY = SigningKey(b"publisher".ljust(32, b"."))


def test_a_board_takes_80_kib_in_60_files_within_its_heap_and_lets_it_all_go(tmp_path: Path) -> None:
    dice = random.Random(6)
    files = {f"puf/module_{number:02}.bin": dice.randbytes(1_365) for number in range(60)}
    # A third stays as it is.
    old = {path: content if index % 3 else b"old" for index, (path, content) in enumerate(files.items())}
    write_tree(tmp_path / "a", old)
    (tmp_path / "a" / "slot").write_bytes(marker(old, "lock", 1, 0))
    Slots(f"{tmp_path}/")._write(State(0, 0, NONE, 0, 0, 0))
    update = pack(files, KEY, "lock", 2)
    (tmp_path / "new.update").write_bytes(update.encode())
    arguments = (f"{tmp_path}/", str(tmp_path / "new.update"), KEY.public.hex())
    found = json.loads(compiled.run(tmp_path / "lib", ["devices/micropython/ota.py"], SCRIPT, *arguments))
    assert found["code"] == 2
    assert read_files(tmp_path / "b") == files
    assert Slots(f"{tmp_path}/").is_whole(1)
    assert (Slots(f"{tmp_path}/").state.pending, slots.NAMES[1]) == (1, "b")
    # Code included; pointers here take twice the room of a board's.
    assert found["peak"] < 56_000
    # Names stay interned for ever; what is done a second time leaves nothing more.
    assert found["left"] < 10_000
