"""What is built for a board: whole, small, the same each time, and able to start."""

import ast
import builtins
import functools
import json
import os
import pty
import re
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from littlefs import LittleFS

from devices import firmware_build, firmware_flash
from devices.firmware_build import (
    BLOCK_BYTES,
    CACHE_BYTES,
    FLASH_BLOCKS,
    MPY_BYTES_MAX,
    ROOT,
    BuildError,
    Role,
    build,
    flash_files,
    image,
    install,
    main,
    mpy_size,
    package_json,
    read_roles,
    slot_files,
    sources,
    write_tree,
)
from devices.firmware_modules import FirmwareMissing, files_of
from devices.firmware_slim import slim
from devices.micropython.slots import Slots
from tests import micropython

ROLES = read_roles()
RAW_REPL = ROOT / "tests" / "hil" / "raw_repl.py"


@functools.cache
def slot(name: str) -> dict[str, bytes]:
    return slot_files(ROLES.roles[name])


@functools.cache
def slimmed(name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The files of a role, and what is left of them."""
    role = ROLES.roles[name]
    texts = {path: (ROOT / path).read_text() for path in sources(role) if path.endswith(".py")}
    return texts, slim(texts, [role.main])


# What it consists of


@pytest.mark.parametrize("name", ROLES.roles)
def test_the_firmware_of_each_role_fits(name: str) -> None:
    assert 40_000 < mpy_size(slot(name)) <= MPY_BYTES_MAX


def test_no_file_for_boards_is_in_no_role() -> None:
    used = set(files_of(ROOT, list(ROLES.loader)))
    for role in ROLES.roles.values():
        used |= set(sources(role))
    at_root = {f"{firmware_build.BOARD_FILES}/{name}" for name in ("boot.py", "main.py")}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / firmware_build.BOARD_FILES).glob("*.py")}
    # That one prints tables.
    assert there - used - at_root == {f"{firmware_build.BOARD_FILES}/power.py"}


def test_what_mip_installs_is_what_the_roles_consist_of() -> None:
    """`python -m devices.firmware_build --package-json` writes it anew."""
    path = ROOT / firmware_build.BOARD_FILES / "package.json"
    assert path.read_text() == package_json()
    listed = json.loads(path.read_text())
    assert {name for name, _ in listed["urls"]} == {
        path for role in ROLES.roles.values() for path in sources(role)
    }
    for _, place in listed["urls"]:
        assert (path.parent / place).is_file()
    # The lock takes nothing from micropython-lib.
    assert ROLES.roles["lock"].deps == ()


def test_a_missing_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "main_x.py").write_text("from devices import here\nfrom puf.gone import x\n")
    (tmp_path / "devices" / "here.py").write_text("import machine\n")
    with pytest.raises(FirmwareMissing, match=r"devices/main_x.py imports puf.gone.x"):
        files_of(tmp_path, ["devices/main_x.py"])
    with pytest.raises(FirmwareMissing, match=r"devices/main_y\.py is not there"):
        files_of(tmp_path, ["devices/main_y.py"])


def test_imports_are_followed_as_micropython_gets_to_them(tmp_path: Path) -> None:
    (tmp_path / "puf").mkdir()
    (tmp_path / "puf" / "__init__.py").write_text("")
    (tmp_path / "puf" / "a.py").write_text(
        "import sys\nif sys.implementation.name == 'micropython':\n    from puf import b\n"
        "else:\n    from puf import c\ndef f():\n    import puf.d\n"
    )
    for name in "bcd":
        (tmp_path / "puf" / f"{name}.py").write_text("")
    assert files_of(tmp_path, ["puf/a.py"]) == ["puf/a.py", "puf/b.py", "puf/d.py"]


def test_firmware_that_is_too_large_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware_build, "slot_files", lambda *_: slot("lock"))
    monkeypatch.setattr(firmware_build, "MPY_BYTES_MAX", mpy_size(slot("lock")) - 1)
    with pytest.raises(BuildError, match="1 too many; the largest files: "):
        build(ROLES.roles["lock"], 1, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_files_give_the_same_bytes_and_the_image_holds_them(tmp_path: Path) -> None:
    files = flash_files(slot("lock"), "lock", 3)
    disk = image(files)
    assert disk == image(flash_files(slot_files(ROLES.roles["lock"]), "lock", 3))
    assert len(disk) % BLOCK_BYTES == 0
    mounted = LittleFS(
        mount=False,
        block_size=BLOCK_BYTES,
        block_count=FLASH_BLOCKS,
        read_size=32,
        prog_size=32,
        cache_size=CACHE_BYTES,
        lookahead_size=32,
    )
    mounted.context.buffer[: len(disk)] = disk
    mounted.mount()
    found = {}
    for folder, _, names in mounted.walk("/"):
        for name in names:
            path = f"{folder}/{name}".strip("/").replace("//", "/")
            with mounted.open(path, "rb") as file:
                found[path] = file.read()
    assert found == files
    write_tree(tmp_path, files)
    assert Slots(f"{tmp_path}/").is_whole(0)
    with pytest.raises(BuildError, match="16 blocks"):
        image(files, 16)


def test_each_name_of_the_command_line_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        main(["boat"])
    assert "there is no role boat; there are lock, charger, sensor" in capsys.readouterr().err
    monkeypatch.setattr(firmware_build, "slot_files", lambda *_: slot("sensor"))
    assert main(["sensor", "--version", "7", "--out", str(tmp_path)]) == 0
    assert "sensor   version 7: " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"sensor", "sensor.img"}
    assert (tmp_path / "sensor" / "a" / "slot").read_bytes()[4:8] == bytes([0, 0, 0, 7])


# What is left out


def test_what_is_never_called_is_left_out_and_what_is_stays() -> None:
    sources_ = {
        "devices/main_x.py": "from puf import a\nfrom puf.b import Used\nprint(a.one(), Used().method())\n"
        "def main():\n    from puf.b import LIMIT\n    return LIMIT\n",
        "puf/a.py": '"""Text."""\nimport sys\nfrom puf.b import helper\n_LONG_NAME = 5\nTIMES = 3\n'
        "def one(x: int = 1) -> int:\n    return helper(_LONG_NAME) * TIMES\n"
        "def two():\n    return never\n",
        "puf/b.py": "from puf.c import lost\nLIMIT = 1 << 4\nOTHER = [1]\ndef helper(x):\n    return x\n"
        "class Used:\n    KIND = 'used'\n    def method(self):\n"
        "        raise ValueError('this text is long enough')\n"
        "    def unused(self):\n        return lost()\n    def __len__(self):\n        return 0\n"
        "class Unused:\n    pass\n",
        "puf/c.py": "def lost():\n    pass\n",
    }
    left = slim(sources_, ["devices/main_x.py"])
    assert left == {
        "devices/main_x.py": "from puf import a\nfrom puf.b import Used\nprint(a.one(), Used().method())\n\n"
        "def main():\n    pass\n    return 16",
        "puf/a.py": "import sys\nfrom puf.b import helper\n\ndef one(x=1):\n    return helper(5) * 3",
        "puf/b.py": "def helper(x):\n    return x\n\nclass Used:\n\n    def method(self):\n"
        "        raise ValueError('b.py:9')\n\n    def __len__(self):\n        return 0",
    }


def test_private_names_are_short_and_the_same_in_all_files() -> None:
    left = slim(
        {
            "devices/main_x.py": "from puf.a import A\n"
            "def main():\n    return A()._inner, getattr(A, '_inner', 0)\n",
            "puf/a.py": "class A:\n    def __init__(self):\n        self._inner = 1\n        self._id = 2\n",
        },
        ["devices/main_x.py"],
    )
    assert "return (A()._aa, getattr(A, '_aa', 0))" in left["devices/main_x.py"]
    assert "self._aa = 1" in left["puf/a.py"]
    # Short enough as it is.
    assert "self._id = 2" in left["puf/a.py"]


def test_no_short_name_is_one_that_something_else_has() -> None:
    left = slim(
        {
            "devices/main_x.py": "from puf.a import A\ndef main():\n    return A()\n",
            "puf/a.py": "class A:\n    def __init__(self, _ac):\n"
            "        self._inner = self._outer = 1\n        self._aa = _ac\n",
        },
        ["devices/main_x.py"],
    )
    assert "self._ab = self._ad = 1" in left["puf/a.py"]
    assert "self._aa = _ac" in left["puf/a.py"]


def test_a_local_name_like_a_constants_is_left_alone() -> None:
    left = slim(
        {
            "devices/main_x.py": "from puf import a\ndef main():\n    return a.f(1)\n",
            "puf/a.py": "SIZE = 4\ndef f(SIZE):\n    return SIZE\n",
        },
        ["devices/main_x.py"],
    )
    assert "def f(SIZE):\n    return SIZE" in left["puf/a.py"]


@pytest.mark.parametrize("name", ROLES.roles)
def test_each_slimmed_file_refers_only_to_what_is_left(name: str) -> None:
    """Every name that one file imports from another is there."""
    texts, left = slimmed(name)
    there = {path: _top_level(ast.parse(text)) for path, text in left.items()}
    for path, text in left.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                base = node.module.replace(".", "/")
                for alias in node.names:
                    if f"{base}.py" in texts:
                        assert alias.name in there[f"{base}.py"], (path, alias.name)
                    elif f"{base}/{alias.name}.py" in texts:
                        assert f"{base}/{alias.name}.py" in left, (path, alias.name)
                        behind = set(re.findall(rf"(?<![\w.]){alias.asname or alias.name}\.(\w+)", text))
                        assert behind <= there[f"{base}/{alias.name}.py"], (path, alias.name)


@pytest.mark.parametrize("name", ROLES.roles)
def test_each_name_in_a_slimmed_file_means_something_there(name: str) -> None:
    for path, text in slimmed(name)[1].items():
        tree = ast.parse(text)
        given = _top_level(tree) | set(dir(builtins))
        given |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        given |= {str(node.name) for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)}
        read = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        assert read <= given, (path, read - given)


def _top_level(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(name=name, asname=asname):
                names.add(asname or name)
    return names


# It comes onto a board


@contextmanager
def board_on_a_pty(flash: Path) -> Iterator[str]:
    """A MicroPython whose console is the port that is yielded."""
    command = micropython.need_micropython()
    flash.mkdir()
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with subprocess.Popen(
        [*command, str(RAW_REPL)], stdin=ours, stdout=ours, stderr=ours, cwd=flash
    ) as process:
        try:
            yield os.ttyname(theirs)
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


def test_a_board_is_flashed_over_its_port_and_keeps_its_own_notes(tmp_path: Path) -> None:
    fresh, flash = tmp_path / "fresh", tmp_path / "flash"
    files = {
        path: content for path, content in flash_files(slot("lock"), "lock", 2).items() if "puf/" not in path
    }
    write_tree(fresh, files)
    (tmp_path / "lock1.cbor").write_bytes(b"provision")
    with board_on_a_pty(flash) as port:
        write_tree(
            flash,
            {
                "a/old.mpy": b"",
                "b/puf/x.mpy": b"",
                "b/slot": b"",
                "notes/settings.0": b"mine",
                "notes/slots.0": b"",
            },
        )
        firmware_flash.flash(fresh, port, tmp_path / "lock1.cbor")
    found = {
        path.relative_to(flash).as_posix(): path.read_bytes() for path in flash.rglob("*") if path.is_file()
    }
    assert found == files | {"provision.cbor": b"provision", "notes/settings.0": b"mine"}


def test_a_port_with_another_micropython_or_none_is_left_as_it_is(tmp_path: Path) -> None:
    for said, problem in (
        ("board 1 20 6\n", "MicroPython 1.20 with bytecode 6 is there; 1.27 or later"),
        ("board 1 30 7\n", "bytecode 7"),
        ("hello\n", "no MicroPython answers there"),
    ):
        asked: list[tuple[str, ...]] = []

        def run(port: str, *arguments: str, said: str = said, asked: list[tuple[str, ...]] = asked) -> str:
            asked.append(arguments)
            return said

        with pytest.raises(BuildError, match=problem):
            firmware_flash.flash(tmp_path, "port", None, run)
        assert len(asked) == 1
    with pytest.raises(BuildError, match="nowhere"):
        firmware_flash.mpremote(str(tmp_path / "nowhere"), "exec", "pass")


def test_installed_as_source_it_is_whole_too(tmp_path: Path) -> None:
    install(tmp_path, "lock", 4, is_source=True)
    assert (tmp_path / "a" / ROLES.roles["lock"].main).read_bytes() == (
        ROOT / ROLES.roles["lock"].main
    ).read_bytes()
    assert Slots(f"{tmp_path}/").is_whole(0)


def test_a_role_is_what_its_row_says() -> None:
    assert ROLES.roles["lock"] == Role(
        "lock", "devices/micropython/main_lock.py", ("devices/micropython/boards/*.json",), ()
    )
