"""A firmware of a few files, small enough to cut the power at each of its writes."""

from devices.firmware_build import ROOT, compile_text, flash_files, image
from devices.firmware_pack import Update, pack
from puf.ed25519 import SigningKey

PUBLISHER = SigningKey(b"publisher".ljust(32, b"."))
BLOCKS = 128
MAIN = """
import report
from devices.micropython import boot_state, slots
VERSION = {version}
def main():
    report.started = (VERSION, boot_state.slot, boot_state.is_trial)
    assert VERSION == boot_state.version and boot_state.role == "lock" and len(boot_state.readout) == 2040
    if report.is_healthy:
        slots.confirm()
"""


def slot(version: int) -> dict[str, bytes]:
    """The files of a slot: some stay the same, one changes, one comes and one goes."""
    files = {}
    for path in ("devices/micropython/boot_state.py", "devices/micropython/slots.py"):
        files[path.replace(".py", ".mpy")] = compile_text((ROOT / path).read_text(), path.rpartition("/")[2])
    files["devices/micropython/main_lock.mpy"] = compile_text(MAIN.format(version=version), "main_lock.py")
    files["data/changes.bin"] = bytes([version]) * 1_500
    files[f"data/only_{version}/here.bin"] = b"here" * 25
    files["data/empty.bin"] = b""
    return files


def fresh_flash() -> dict[str, bytes]:
    """Version 1, as it comes from the bench."""
    return flash_files(slot(1), "lock", 1)


def fresh_image() -> bytes:
    """The same, as LittleFS."""
    return image(fresh_flash(), BLOCKS)


def update(version: int = 2, **options: object) -> Update:
    """Signed."""
    return pack(slot(version), PUBLISHER, "lock", version, **options)  # type: ignore[arg-type]
