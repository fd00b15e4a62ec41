"""`python -m tests.crash_firmware`: cuts the power at every write of a firmware update (minutes).

Runs on CPython.  First a small firmware, the update finished after every cut; then that of each role as it
ships, finished after each cut that EVERY divides.  Exit status 1 when some board did not start.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from devices import firmware_build
from devices.firmware_pack import pack
from devices.micropython.ota_manifest import ANY_BOARD
from tests.devices import small_firmware
from tests.micropython import ROOT, need_micropython

SCRIPT = Path(__file__).parent / "devices" / "crash_flash.py"
# Says that it runs and keeps itself, as the small firmware does; the rest is the role as it ships.
MAIN = "devices/micropython/main_lock.mpy"


def cut(name: str, image: bytes, update: bytes, blocks: int, every: int) -> bool:
    """Whether every board started."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "flash.img", Path(folder) / "new.update"
        paths[0].write_bytes(image)
        paths[1].write_bytes(update)
        begin = time.monotonic()
        done = subprocess.run(
            [
                *need_micropython(),
                *("-X", "heapsize=64m", str(SCRIPT), *(str(path) for path in paths)),
                *(small_firmware.PUBLISHER.public.hex(), str(blocks), str(every)),
            ],
            env={**os.environ, "MICROPYPATH": f"{ROOT}:.frozen"},
            capture_output=True,
            text=True,
            check=False,
        )
    print(
        f"{name}: {done.stdout.strip() or done.stderr[-1000:]} in {time.monotonic() - begin:.0f} s",
        flush=True,
    )
    return done.returncode == 0


def main() -> int:
    """Runs all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash_firmware", description="Cut power in updates."
    )
    parser.add_argument("--every", type=int, default=50, help="of a whole role: finish the update that often")
    args = parser.parse_args()
    fine = cut(
        "small", small_firmware.fresh_image(), small_firmware.update().encode(), small_firmware.BLOCKS, 1
    )
    for role in firmware_build.read_roles().roles.values():
        slot = firmware_build.slot_files(role) | {MAIN: small_firmware.slot(1)[MAIN]}
        files = firmware_build.flash_files(slot, "lock", 1)
        # The worst: every byte of every file is another, so all of them are sent and written.
        new = {path: content + b"\0" for path, content in slot.items()}
        new |= {path: content for path, content in slot.items() if path.startswith("devices/micropython/")}
        new[MAIN] = small_firmware.slot(2)[MAIN]
        update = pack(new, small_firmware.PUBLISHER, "lock", 2, board=ANY_BOARD)
        image = firmware_build.image(files, 256)
        fine = cut(role.name, image, update.encode(), 256, args.every) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
