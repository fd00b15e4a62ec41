"""A signed update of the files of one slot, as a board takes it (devices/micropython/ota_manifest.py).

Runs on CPython.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from devices.micropython import ota_manifest, slots
from devices.micropython.errors import FirmwareError
from devices.micropython.ota_manifest import Entry, Firmware
from puf.ed25519 import SigningKey
from puf.errors import DecodeError


@dataclass(frozen=True, slots=True)
class Update:
    """A whole update in memory.  Made by `pack` or `parse`."""

    statement: bytes
    """Signed by the publisher."""
    firmware: Firmware
    """What it says; whose signature it is, nobody has checked here."""
    entries: tuple[Entry, ...]
    stream: bytes
    """List and content: what a board asks for by offset."""

    def encode(self) -> bytes:
        """As it lies in a file, or on a web server."""
        return ota_manifest.wrap(self.statement) + self.stream


def make_list(files: dict[str, bytes]) -> bytes:
    """The list of the files of a slot.  Raises FirmwareError for names that no board takes."""
    for path in files:
        if not ota_manifest.is_path(path):
            raise FirmwareError(
                f"{path!r} is no name for a file of firmware: small letters, digits, - _ and . up to "
                f"{slots.PATH_BYTES_MAX} in all, and not {' or '.join(slots.OWN_FILES)}"
            )
    return b"".join(
        slots.entry(path, len(content), hashlib.sha256(content).digest())
        for path, content in sorted(files.items())
    )


def marker(files: dict[str, bytes], role: str, version: int, minimum: int) -> bytes:
    """The marker of a slot that holds these files."""
    digest = hashlib.sha256(make_list(files)).digest()
    return slots.Marker(version, minimum, digest, role.encode()).encode()


def read_files(folder: Path) -> dict[str, bytes]:
    """Path -> content of the firmware in a folder that is a slot."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in slots.OWN_FILES
    }


def pack(
    files: dict[str, bytes],
    key: SigningKey,
    role: str,
    version: int,
    *,
    minimum: int = 1,
    board: str = ota_manifest.ANY_BOARD,
    loader: int = slots.LOADER,
    may_go_back: bool = False,
) -> Update:
    """The update, signed by its publisher's `key`.  Raises FirmwareError for what no board would take."""
    listed = make_list(files)
    content = b"".join(content for _, content in sorted(files.items()))
    # The second byte of a .mpy file is the version of its bytecode.
    versions = {content[1] for path, content in files.items() if path.endswith(".mpy") and len(content) > 1}
    if len(versions) > 1:
        raise FirmwareError(f"these files are compiled for several versions of bytecode: {sorted(versions)}")
    firmware = Firmware(
        *(role, board, version, minimum, loader, versions.pop() if versions else 0, may_go_back),
        *(len(listed), hashlib.sha256(listed).digest(), len(content)),
    )
    update = Update(ota_manifest.sign(firmware, key), firmware, (), listed + content)
    return parse(update.encode())


def parse(data: bytes) -> Update:
    """The update that `data` is, each file against its hash; the signature is not looked at.

    Raises DecodeError, FirmwareError.
    """
    statement, at = ota_manifest.unwrap(data[:512])
    firmware = ota_manifest.read_unsigned(statement)
    stream = data[at:]
    if len(stream) != firmware.list_size + firmware.content_size:
        raise FirmwareError(
            f"the update has {len(stream)} bytes after its statement, which names "
            f"{firmware.list_size + firmware.content_size}; copy it again"
        )
    listed, content = stream[: firmware.list_size], stream[firmware.list_size :]
    if hashlib.sha256(listed).digest() != firmware.list_hash:
        raise FirmwareError("the list of files is not the one that was signed; copy the update again")
    entries: list[Entry] = []
    start = end = 0
    while start < len(listed):
        size = ota_manifest.entry_size(listed[start : start + ota_manifest.ENTRY_BYTES_MAX])
        if not size:
            raise DecodeError("an item of the list is cut off, or longer than any can be")
        entry = ota_manifest.parse_entry(listed[start : start + size], entries[-1].path if entries else "")
        if hashlib.sha256(content[end : end + entry.size]).digest() != entry.digest:
            raise FirmwareError(f"{entry.path} is not the file that was signed; copy the update again")
        entries.append(entry)
        start += size
        end += entry.size
    if end != len(content) or len(entries) > ota_manifest.FILES_MAX:
        raise FirmwareError("the list does not name all of the content")
    return Update(statement, firmware, tuple(entries), stream)
