"""A power cut at every single write of an update leaves a board that starts, and an update that goes on.

The long form cuts a whole role's firmware, and finishes the update after every cut: make crash-firmware.
"""

import json
from pathlib import Path

from tests.devices import small_firmware
from tests.micropython import run

SCRIPT = Path(__file__).with_name("crash_flash.py")
HEAP = "12m"
"""It holds the flash, and copies of it."""


def test_after_a_cut_at_every_write_of_update_trial_confirmation_and_rollback_a_board_starts(
    tmp_path: Path,
) -> None:
    image, update = tmp_path / "flash.img", tmp_path / "new.update"
    image.write_bytes(small_firmware.fresh_image())
    update.write_bytes(small_firmware.update().encode())
    arguments = (str(image), str(update), small_firmware.PUBLISHER.public.hex(), str(small_firmware.BLOCKS))
    found = json.loads(run(SCRIPT, *arguments, "20", heap_size=HEAP))
    for name, versions in (("confirm", [1, 2]), ("rollback", [1, 2, 1])):
        # What starts changes once when the update is staged, and once when it is rolled back.
        assert found[name]["versions"] == versions
        assert found[name]["of_update"] > 80
    assert found["confirm"]["writes"] - found["confirm"]["of_update"] == 2
    assert found["rollback"]["writes"] - found["rollback"]["of_update"] == 4
