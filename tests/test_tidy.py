"""The house is in order: each rule of `tests/tidy_rules.py` holds here, and finds what breaks it."""

import gc
import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import micropython, tidy_rules
from tests.tidy_rules import BOTH_INTERPRETERS, Files, canonical, module_name

ROOT = Path(__file__).resolve().parent.parent
NEVER_OURS = {".git", ".venv", "build", "dist", "demo-data", "__pycache__"}


def repository() -> dict[str, str]:
    """Every text file of this repository that is tracked, or would be."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    else:  # An unpacked archive has no git.
        names = [
            path.relative_to(ROOT).as_posix()
            for path in sorted(ROOT.rglob("*"))
            if not NEVER_OURS & set(path.relative_to(ROOT).parts)
        ]
    files = {}
    for name in names:
        path = ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            files[name] = data.decode(errors="replace")
    return files


FILES = repository()
PYPROJECT = tomllib.loads(FILES["pyproject.toml"])


@pytest.fixture(autouse=True, scope="module")
def without_searching_for_garbage() -> Iterator[None]:
    """Every file is read as Python once, which takes twice as long with searches among the nodes."""
    gc.disable()
    yield
    tidy_rules.forget()
    gc.enable()


def fail_with(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


# The rules hold


@pytest.mark.parametrize("rule", tidy_rules.ALL_RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds_in_this_repository(rule: Callable[[Files], list[str]]) -> None:
    fail_with(rule(FILES))


def test_the_repository_was_really_read() -> None:
    assert {"pyproject.toml", "Makefile", "puf/cbor.py", "gateway/config.py", "tests/test_tidy.py"} <= set(
        FILES
    )
    assert "puf/cbor.py" in tidy_rules.runs_on_both(FILES)


# The rules find what they are there to find

HEAD = '"""A part of the example."""\n'
BOTH = f'"""A part.\n\n{BOTH_INTERPRETERS}\n"""\n'
LOCK = f"left==1.0 \\\n    --hash=sha256:{'0' * 64}\n"
# Put together here, because these lines are searched like all others.
HOME, INDEX, LATER, OFFICE = "/" + "home", "--extra-" + "index-url", "TO" + "DO", "Work" + "place"

BAD: list[tuple[Callable[[Files], list[str]], dict[str, str], list[str]]] = [
    # Who imports whom.
    (
        tidy_rules.import_directions,
        {"puf/a.py": "from obd import b", "obd/b.py": ""},
        ["puf/a.py:1: imports obd.b, but puf may import nothing of ours; move the needed thing down, "],
    ),
    (
        tidy_rules.import_directions,
        {"gateway/crypto/a.py": HEAD + "def f():\n    import gateway.config", "gateway/config.py": ""},
        ["gateway/crypto/a.py:3: imports gateway.config, but gateway.crypto may import puf;"],
    ),
    (
        tidy_rules.import_directions,
        {"gateway/sensors/a.py": "from gateway.crypto.b import C", "gateway/crypto/b.py": ""},
        ["gateway/sensors/a.py:1: imports gateway.crypto.b, but gateway.sensors may import obd, puf;"],
    ),
    (
        tidy_rules.import_directions,
        {
            "gateway/a.py": "if TYPE_CHECKING:\n    from chain_node import ledger, wire",
            "chain_node/ledger.py": "",
            "chain_node/wire.py": "",
        },
        ["gateway/a.py:2: imports chain_node.ledger, but gateway may import gateway.crypto, "],
    ),
    (
        tidy_rules.import_directions,
        {"gateway/sensors/a.py": "from .. import config", "gateway/config.py": ""},
        ["gateway/sensors/a.py:1: imports gateway.config, but"],
    ),
    (
        tidy_rules.import_directions,
        {"puf/a.py": "import importlib\nimportlib.import_module('obd.b')", "obd/b.py": ""},
        ["puf/a.py:2: imports obd.b, but"],
    ),
    (
        tidy_rules.import_directions,
        {"gateway/demo.py": "import tests.bench", "tests/bench.py": ""},
        ["gateway/demo.py:1: imports tests.bench, but nothing outside tests/ may import tests;"],
    ),
    (
        tidy_rules.import_directions,
        {"gateway/app.py": "from gateway import cli_output", "gateway/cli_output.py": ""},
        ["gateway/app.py:1: imports gateway.cli_output, a composition root, which nobody imports;"],
    ),
    (
        tidy_rules.import_directions,
        {"tools/a.py": "import puf.b", "puf/b.py": ""},
        ["tools/a.py:1: imports puf.b, but tools/ has no row in MAY_IMPORT;"],
    ),
    (
        tidy_rules.import_cycles,
        {"puf/a.py": "import puf.b", "puf/b.py": "\nfrom puf.c import d", "puf/c.py": "from puf import a"},
        ["puf/a.py:1: imports itself: puf.a -> puf.b -> puf.c -> puf.a; move what both need"],
    ),
    (
        tidy_rules.packages_import_nothing,
        {"puf/__init__.py": "from puf.a import b", "puf/a.py": ""},
        ["puf/__init__.py:1: a package imports puf.a;"],
    ),
    # Two interpreters.
    (
        tidy_rules.two_interpreters,
        {"puf/a.py": BOTH + "import struct\nfrom dataclasses import dataclass\nimport cbor2"},
        [
            "puf/a.py:6: imports dataclasses, which not both interpreters have;",
            "puf/a.py:7: imports cbor2, which not both interpreters have;",
        ],
    ),
    (
        tidy_rules.two_interpreters,
        {"puf/a.py": BOTH + "from puf.b import c", "puf/b.py": HEAD},
        ["puf/a.py:5: imports puf.b, whose head does not say"],
    ),
    (
        tidy_rules.two_interpreters,
        {"puf/a.py": BOTH + "try:\n    import cbor2\nexcept ImportError:\n    pass"},
        ["puf/a.py:6: imports cbor2, "],
    ),
    (
        tidy_rules.two_interpreters,
        {
            "puf/a.py": BOTH + "import sys\nif sys.implementation.name == 'micropython':\n    import nacl\n"
            "else:\n    import nacl, cryptolib\n"
            "if sys.platform == 'linux':\n    import ctypes\ndef f():\n    import nacl"
        },
        ["puf/a.py:7: imports nacl, ", "puf/a.py:11: imports ctypes, ", "puf/a.py:13: imports nacl, "],
    ),
    (
        tidy_rules.two_interpreters,
        {
            "puf/a.py": BOTH + "import sys\nif sys.implementation.name != 'micropython':\n    import puf.b\n"
            "else:\n    import puf.b, cryptolib",
            "puf/b.py": HEAD,
        },
        ["puf/a.py:9: imports puf.b, whose head"],
    ),
    (
        tidy_rules.board_files,
        {
            "devices/micropython/boot.py": "import machine, network, yaml\nfrom puf import a, b",
            "puf/a.py": BOTH,
            "puf/b.py": HEAD,
        },
        [
            "devices/micropython/boot.py:1: imports yaml, which is not there on a board",
            "devices/micropython/boot.py:2: imports puf.b, which is not there on a board",
        ],
    ),
    # Heads and names.
    (tidy_rules.file_heads, {"gateway/a.py": "import os"}, ["gateway/a.py:1: has no docstring at its head;"]),
    (tidy_rules.file_heads, {"gateway/__init__.py": "A = 1"}, ["gateway/__init__.py:1: has no docstring"]),
    (
        tidy_rules.file_heads,
        {"gateway/a.py": '"""Seal things\n\nMore. """'},
        ["gateway/a.py:1: the first line of its docstring is no sentence;"],
    ),
    (
        tidy_rules.file_heads,
        {"gateway/a.py": '"""Sealing.  Runs on MicroPython and CPython."""'},
        ["gateway/a.py:1: where it runs is not said in known words;"],
    ),
    (tidy_rules.file_heads, {"puf/a.py": HEAD}, ["puf/a.py:1: does not say where it runs;"]),
    (
        tidy_rules.names_of_files,
        {"gateway/can.py": HEAD + "def f():\n    from can.interfaces import x"},
        ["gateway/can.py:3: is named like the package can that it imports;"],
    ),
    (
        tidy_rules.units_of_names,
        {
            "gateway/a.py": "WAIT_S = 2\nclass A:\n    price_cpc: int\n"
            "    def f(self, age_minutes, *, rate_per_s):\n"
            "        self.energy_kwh = local_s = 1\ndef _private(time_s): ..."
        },
        [
            "gateway/a.py:1: WAIT_S is in another unit than ours; use _ms or _ns",
            "gateway/a.py:3: price_cpc is in another unit than ours; use _ucpc",
            "gateway/a.py:4: age_minutes is in another unit than ours; use _ms",
            "gateway/a.py:5: energy_kwh is in another unit than ours; use _wh",
        ],
    ),
    # What hides.
    (
        tidy_rules.hidden_errors,
        {
            "gateway/a.py": "try: f()\nexcept: raise\ntry: f()\nexcept (ValueError, Exception): pass\n"
            "try: f()\nexcept ValueError: pass\ntry: f()\nexcept Exception as e: log(e)\n"
            "with contextlib.suppress(Exception): f()"
        },
        [
            "gateway/a.py:2: catches everything, even Ctrl-C;",
            "gateway/a.py:4: hides every error;",
            "gateway/a.py:9: hides every error;",
        ],
    ),
    (
        tidy_rules.sizes_of_files,
        {"gateway/a.py": "\n" * 501, "gateway/b.py": "\n" * 500, "tests/c.py": "\n" * 501},
        ["gateway/a.py:501: has 501 lines;"],
    ),
    (
        tidy_rules.forbidden_text,
        {
            "a.md": f"See {HOME}/ann.\nhttp://127.0.0.1{HOME}/ ~{HOME} ..{HOME} {{x}}{HOME} a{HOME} are not.",
            "b.sh": f"pip install {INDEX} https://mirror",
            "c.py": f"# {LATER}: this",
            "d.md": "../shared/DESIGN.md",
            "e.txt": f"the {OFFICE}",
        },
        [
            f"a.md:1: '{HOME}' is a path of one machine;",
            f"b.sh:1: '{INDEX}' names a package index;",
            f"c.py:1: '{LATER}' is a promise;",
            "d.md:1: points outside this repository;",
            f"e.txt:1: '{OFFICE}' is no word of this project;",
        ],
    ),
    (
        tidy_rules.make_targets,
        {
            "Makefile": ".PHONY: demo\ndemo: x ## Show it\n.PHONY: test\ntest:\n\ttrue\n"
            "bench: ## Measure\n\tpython -m tests.bench\n.PHONY: lost\n",
            "README.md": "Type `make demo` or `make dmeo`, and make sure.\n```\nmake tset\n```\nmake up",
            ".ci/run": "exec timeout 9 make tests",
        },
        [
            "Makefile:1: bench is not phony;",
            "Makefile:1: lost is phony but has no rule",
            "Makefile:1: test is not explained;",
            "Makefile:7: there is no module tests.bench;",
            "README.md:1: there is no `make dmeo`;",
            "README.md:3: there is no `make tset`;",
            ".ci/run:1: there is no `make tests`;",
        ],
    ),
    (
        tidy_rules.lock_form,
        {
            "requirements.lock": f"# fine\n{LOCK}right==2.0 ; python_version < '3.12'\n-e .\nloose>=1 \\\n",
            "requirements-dev.lock": f"--find-links x\n{LOCK}a @ https://x/a.whl\n# https://x",
        },
        [
            "requirements.lock:4: right has no hash;",
            "requirements.lock:5: '-e .' is no pin and no hash;",
            "requirements.lock:6: 'loose>=1 \\\\' is no pin and no hash;",
            "requirements-dev.lock:1: '--find-links x' is no pin and no hash;",
            "requirements-dev.lock:4: 'a @ https://x/a.whl' is no pin and no hash;",
            "requirements-dev.lock:5: names an address;",
        ],
    ),
]

GOOD: list[tuple[Callable[[Files], list[str]], dict[str, str]]] = [
    (
        tidy_rules.import_directions,
        {
            "gateway/cli_node.py": "from chain_node import node\nimport gateway.cli_output",
            "gateway/cli_output.py": "import gateway.app",
            "gateway/app.py": "import gateway.crypto.seal, obd.b, puf.c, chain_node.wire, aiohttp",
            "gateway/crypto/seal.py": "from gateway.crypto import errors\nimport puf.c",
            "gateway/crypto/errors.py": "",
            "chain_node/node.py": "from chain_node.wire import Block",
            "chain_node/wire.py": "import puf.c",
            "tests/test_a.py": "import gateway.cli_node, chain_node.node",
            "hil/rig.py": "import chain_node.node, puf.c",
            "obd/b.py": "",
            "puf/c.py": "import can",
        },
    ),
    (
        tidy_rules.import_cycles,
        {
            "puf/a.py": "import puf.b",
            "puf/b.py": "def f():\n    import puf.a",
            "puf/c.py": "import puf.a, puf.b",
        },
    ),
    (
        tidy_rules.two_interpreters,
        {
            "puf/__init__.py": "",
            "puf/a.py": BOTH + "import sys\nfrom puf import b\nfrom puf.b import x\n"
            "if sys.implementation.name == 'micropython':\n    import puf.d, cryptolib\n"
            "else:\n    import puf.c, nacl.bindings\n    def f():\n        import cbor2",
            "puf/b.py": BOTH + "import os, asyncio",
            "puf/c.py": HEAD + "import cbor2",
            "puf/d.py": '"""AES.  Runs on MicroPython."""',
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "files", "expected"), BAD, ids=[rule.__name__ for rule, _, _ in BAD])
def test_the_rule_finds_what_breaks_it(
    rule: Callable[[Files], list[str]], files: dict[str, str], expected: list[str]
) -> None:
    problems = rule(files)
    assert len(problems) == len(expected), problems
    for problem, beginning in zip(problems, expected, strict=True):
        assert problem.startswith(beginning)


@pytest.mark.parametrize(("rule", "files"), GOOD, ids=[rule.__name__ for rule, _ in GOOD])
def test_the_rule_leaves_alone_what_keeps_it(
    rule: Callable[[Files], list[str]], files: dict[str, str]
) -> None:
    assert rule(files) == []


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BAD} == set(tidy_rules.ALL_RULES)


# Two interpreters, in earnest

COMPILE_EACH = """
import sys
for line in sys.stdin:
    path = line.rstrip()
    try:
        with open(path) as file:
            compile(file.read(), path, "exec")
    except SyntaxError as error:
        sys.print_exception(error)
"""


def micropython_compiles(paths: list[Path]) -> str:
    """What a real MicroPython says against these files; nothing if it can read all."""
    return micropython.run(COMPILE_EACH, stdin="".join(f"{path}\n" for path in paths), heap_size="2m")


def test_micropython_can_read_every_file_for_both_interpreters() -> None:
    paths = tidy_rules.runs_on_both(FILES)
    assert len(paths) > 10
    said = micropython_compiles([ROOT / path for path in paths])
    assert not said, f"{said}\nThis dialect is not MicroPython's; write it in the one that both have."


@pytest.mark.parametrize(
    "text",
    [
        "match 1:\n    case 1: pass",
        "def f(a, /): pass",
        "try: pass\nexcept* ValueError: pass",
        "def f[T](x: T): pass",
        "type A = int",
        "class A[T]: pass",
    ],
)
def test_a_dialect_that_micropython_lacks_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "dialect.py").write_text(text)
    assert 'dialect.py", line ' in micropython_compiles([tmp_path / "dialect.py"])


@pytest.mark.parametrize("path", tidy_rules.runs_on_both(FILES))
def test_micropython_imports_every_file_for_both_interpreters(path: str) -> None:
    name = module_name(path)
    # As a boot file loads it: else garbage between code leaves no room in one piece.
    load = f"import gc\ngc.threshold(4096)\nimport {name} as module\nprint(module.__name__)"
    assert micropython.run(load) == f"{name}\n"


def test_the_libraries_that_both_are_said_to_have_are_there() -> None:
    micropython.run("\n".join(f"import {name}" for name in sorted(tidy_rules.IN_BOTH_LIBRARIES)))
    assert sys.stdlib_module_names >= tidy_rules.IN_BOTH_LIBRARIES
    micropython.run("\n".join(f"import {name}" for name in sorted(tidy_rules.IN_MICROPYTHON_ONLY)))
    assert not sys.stdlib_module_names & tidy_rules.IN_MICROPYTHON_ONLY


# Names

OURS = {
    path.split("/")[0].removesuffix(".py") for path in FILES if path.endswith(".py") and path.count("/") <= 1
}
"""Top-level names that can be imported from this repository."""


def test_no_top_level_name_is_taken_by_an_installed_package_or_the_standard_library() -> None:
    mine = canonical(PYPROJECT["project"]["name"])
    others = dict.fromkeys(sys.stdlib_module_names, "Python")
    for name, owners in importlib.metadata.packages_distributions().items():
        if foreign := [owner for owner in owners if canonical(owner) != mine]:
            others[name] = foreign[0]
    assert "puf" in OURS
    fail_with(tidy_rules.names_that_clash(OURS, others))
    assert tidy_rules.names_that_clash(
        {"obd", "json"}, {"obd": "python-OBD", "json": "Python", "x": "y"}
    ) == [
        "json:1: Python has a package of this name, so one of the two is never found; rename ours",
        "obd:1: python-OBD has a package of this name, so one of the two is never found; rename ours",
    ]


def test_packages_that_would_shadow_ours_are_declared_and_absent() -> None:
    conflicts = PYPROJECT["tool"]["cpc"]["conflicts"]
    assert set(conflicts) >= {"obd", "puf"}
    assert set(conflicts) <= OURS
    installed = {canonical(owner.name) for owner in importlib.metadata.distributions()}
    present = installed & {canonical(name) for name in conflicts}
    assert not present, f"pip uninstall {' '.join(present)}: it has the name of a folder of ours"


def test_our_names_lead_here_from_anywhere(tmp_path: Path) -> None:
    names = sorted(OURS - {"tests"})
    code = (
        "import importlib.util, json, sys\n"
        "specs = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}\n"
        "print(json.dumps({name: list(spec.submodule_search_locations) for name, spec in specs.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *names], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {name: [str(ROOT / name)] for name in names}
