"""The rules of the house, each a function from files to the places that break it.

`tests/test_tidy.py` applies them to this repository, and each of them to a small bad example.  A rule
takes Files (path -> text) and returns lines "path:line: what is wrong; what to do".
"""

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

Files = Mapping[str, str]
"""Path from the root of the repository, with slashes -> text."""

# Who may import whom: folder -> folders and modules.  ARCHITECTURE.md has it as a table, with reasons.
# Of the chain: how it writes, and how to check it without trust. The peers' transport joins when it exists.
_CHAIN_FOR_GATEWAY = ("chain_node.wire", "chain_node.light_client", "chain_node.light_http")
# Of a device: how its link is written, which its own files define and check.
_DEVICE_FOR_GATEWAY = tuple(
    f"devices.micropython.{name}" for name in ("advert", "channel", "commands", "errors", "link_frame")
)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "puf": (),
    "obd": (),
    "lock_controller": ("puf",),
    "chain_node": ("puf",),
    "gateway.crypto": ("puf",),
    "gateway.sidechain": ("puf", *_CHAIN_FOR_GATEWAY),
    "gateway.sensors": ("obd", "puf"),
    "gateway": (
        *("gateway.crypto", "gateway.sensors", "gateway.sidechain", "lock_controller", "obd", "puf"),
        *_CHAIN_FOR_GATEWAY,
        *_DEVICE_FOR_GATEWAY,
    ),
    # What is burnt into a board: the files of other folders must run on it, which another rule checks.
    "devices.micropython": ("lock_controller", "obd", "puf"),
    # What makes, signs and brings firmware, on the side of the person who has the board.
    "devices": ("devices.micropython", "puf"),
}
MAY_IMPORT_ANYTHING = ("tests", "hil")
COMPOSITION_ROOT = re.compile(r"gateway/(?:cli\w*|demo\w*|__main__)\.py")
"""Files that start a whole system, and so may import all of its parts.  Nobody else imports them."""

BOTH_INTERPRETERS = "Runs on CPython and MicroPython."
"""The sentence in the docstring of a file that must stay importable on both."""
WHERE_IT_RUNS = (BOTH_INTERPRETERS, "Runs on CPython.", "Runs on CPython;", "Runs on MicroPython.")
# fmt: off
IN_BOTH_LIBRARIES = frozenset((
    "array", "asyncio", "binascii", "builtins", "cmath", "collections", "errno", "gc", "hashlib", "heapq",
    "io", "json", "math", "os", "random", "re", "select", "socket", "ssl", "struct", "sys", "time",
))
"""Modules of the standard libraries of both; a test imports each under both."""
IN_MICROPYTHON_ONLY = frozenset((
    "cryptolib", "deflate", "framebuf", "machine", "micropython", "uctypes", "vfs",
))
"""Modules of MicroPython's Unix port that CPython lacks; a test imports each."""
ON_BOARDS_ONLY = frozenset(("aioble", "bluetooth", "esp", "esp32", "network", "neopixel", "rp2"))
"""Modules that only a board or its manifest brings; for devices/ alone."""
# fmt: on

PRODUCT_LINES_MAX = 500

_WRONG_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "_ms or _ns"),
    **dict.fromkeys(("mins", "minute", "minutes", "hour", "hours", "millis", "msec"), "_ms"),
    **dict.fromkeys(("cpc",), "_ucpc"),
    **dict.fromkeys(("kwh",), "_wh"),
    **dict.fromkeys(("kw",), "_w"),
    **dict.fromkeys(("amps", "ampere", "amperes"), "_ma"),
    **dict.fromkeys(("volt", "volts"), "_mv"),
    **dict.fromkeys(("cm", "meters", "metres"), "_mm"),
}

IN_SI_UNITS = ("gateway/sensors/car_model.py",)
"""Physics in floats, where seconds are right: nobody is billed or judged by what it computes."""

# Each of them in a form that does not match itself, for these lines are searched too.
_FORBIDDEN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(?<![\w.~*/)}-])/(?:wor[k]|tm[p]|hom[e]|roo[t])\b(?!-)"),
        "is a path of one machine; write it relative to this file, or take it from the caller",
    ),
    (
        re.compile(r"pypi\.or[g]|pythonhosted\.or[g]|piwheels\.or[g]|--(?:extra-)?index-ur[l]"),
        "names a package index; whoever installs chooses theirs",
    ),
    (
        re.compile(r"(?i)\b(?:anthropi[c]|claud[e]|workplac[e])\b"),
        "is no word of this project; leave it out",
    ),
    (re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b"), "is a promise; do it now, or drop it"),
)
_SHARED = re.compile(r"\.\./share[d]\b")


# What the rules look at


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a file imports."""

    line: int
    """Where."""
    module: str
    """Dotted, absolute: the module itself where it is one of ours, else the package named."""
    is_late: bool
    """Inside a function: it happens when the function is called."""
    branch: str
    """Which interpreter gets there: `both`, `micropython` or `cpython`."""


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def forget() -> None:
    """Lets go of what was read: millions of nodes, which each search for garbage would go through."""
    _parsed.cache_clear()
    imports_of.cache_clear()


def python_files(files: Files) -> dict[str, str]:
    """Those of `files` that are Python."""
    return {path: text for path, text in files.items() if path.endswith(".py")}


def module_name(path: str) -> str:
    """`gateway/crypto/seal.py` -> `gateway.crypto.seal`; a package has the name of its folder."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def head_of(text: str) -> str:
    """The docstring at the head of a file, or nothing."""
    return ast.get_docstring(_parsed(text)) or ""


def runs_on_both(files: Files) -> list[str]:
    """Paths of the files that say they run on both interpreters."""
    return [
        path
        for path, text in python_files(files).items()
        # Few files have the words at all, and only those are worth reading as Python.
        if "MicroPython." in text and BOTH_INTERPRETERS in _flat(head_of(text))
    ]


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _branch_of(test: ast.expr) -> tuple[str, str] | None:
    """(branch of `if`, branch of `else`) of the one test by which a file may tell interpreters apart."""
    if not isinstance(test, ast.Compare) or ast.unparse(test.left) != "sys.implementation.name":
        return None
    match test.ops, test.comparators:
        case [ast.Eq()], [ast.Constant(value="micropython")]:
            return "micropython", "cpython"
        case [ast.NotEq()], [ast.Constant(value="micropython")]:
            return "cpython", "micropython"
    return None


@functools.lru_cache(maxsize=4096)
def imports_of(path: str, text: str, modules: frozenset[str]) -> tuple[Import, ...]:
    """Everything that a file imports: at its head, in functions, under TYPE_CHECKING and by name."""
    package = (
        module_name(path).split(".") if path.endswith("__init__.py") else module_name(path).split(".")[:-1]
    )
    found: list[Import] = []

    def visit(node: ast.AST, is_late: bool, branch: str) -> None:
        match node:
            case ast.Import(names=names):
                found.extend(Import(node.lineno, name.name, is_late, branch) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                source = ".".join([*base, *([module] if module else [])])
                for name in names:
                    inner = f"{source}.{name.name}"
                    found.append(Import(node.lineno, inner if inner in modules else source, is_late, branch))
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if ast.unparse(func) in (
                "importlib.import_module",
                "import_module",
                "__import__",
            ):
                found.append(Import(node.lineno, name, is_late, branch))
            case ast.If(test=test) if (branches := _branch_of(test)) is not None:
                for statements, where in zip((node.body, node.orelse), branches, strict=True):
                    for statement in statements:
                        visit(statement, is_late, where)
                return
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, is_late or is_function, branch)

    visit(_parsed(text), False, "both")
    return tuple(found)


def _imports(files: Files) -> Iterator[tuple[str, Import, str | None]]:
    """(importing file, import, imported file if it is ours) of all Python files."""
    sources = python_files(files)
    by_module = {module_name(path): path for path in sources}
    modules = frozenset(by_module)
    # A folder is a package even where it has no __init__.py.
    packages = {
        ".".join(parts[:end])
        for parts in (name.split(".") for name in modules)
        for end in range(1, len(parts))
    }
    for path, text in sources.items():
        for found in imports_of(path, text, modules):
            target = found.module
            while target and target not in by_module:
                if target in packages:
                    break
                target = target.rpartition(".")[0]
            if target:
                yield path, found, by_module.get(target, target.replace(".", "/") + "/__init__.py")
            else:
                yield path, found, None


def _folder(module: str) -> str:
    """The row of the import table that a module of ours belongs to; else its top-level folder."""
    rows = [row for row in MAY_IMPORT if module == row or module.startswith(f"{row}.")]
    return max(rows, key=len) if rows else module.partition(".")[0]


# The rules


def import_directions(files: Files) -> list[str]:
    """Who may import whom, functions and TYPE_CHECKING included."""
    problems = []
    for path, found, target_path in _imports(files):
        if target_path is None:
            continue
        target = module_name(target_path)
        folder, target_folder = _folder(module_name(path)), _folder(target)
        where = f"{path}:{found.line}: imports {found.module}"
        if target_folder == "tests" and folder != "tests":
            problems.append(f"{where}, but nothing outside tests/ may import tests; move what is needed down")
        elif folder in MAY_IMPORT_ANYTHING:
            continue
        elif COMPOSITION_ROOT.fullmatch(target_path) and not COMPOSITION_ROOT.fullmatch(path):
            problems.append(
                f"{where}, a composition root, which nobody imports; move what is shared below it"
            )
        elif folder == target_folder or COMPOSITION_ROOT.fullmatch(path):
            continue
        elif folder not in MAY_IMPORT:
            problems.append(
                f"{where}, but {folder}/ has no row in MAY_IMPORT; put it below a folder that has"
            )
        elif not any(target == row or target.startswith(f"{row}.") for row in MAY_IMPORT[folder]):
            allowed = ", ".join(MAY_IMPORT[folder]) or "nothing of ours"
            problems.append(
                f"{where}, but {folder} may import {allowed}; move the needed thing down, or pass it in"
            )
    return problems


def import_cycles(files: Files) -> list[str]:
    """No module may, through others, import itself while it is being imported."""
    graph: dict[str, dict[str, int]] = {path: {} for path in python_files(files)}
    for path, found, target in _imports(files):
        if target in graph and target != path and not found.is_late:
            graph[path].setdefault(target, found.line)
    problems = []
    done: set[str] = set()

    def visit(path: str, trail: list[str]) -> None:
        if path in trail:
            cycle = [*trail[trail.index(path) :], path]
            line = graph[cycle[0]][cycle[1]]
            names = " -> ".join(map(module_name, cycle))
            problems.append(
                f"{cycle[0]}:{line}: imports itself: {names}; move what both need into a third module"
            )
        elif path not in done:
            for target in graph[path]:
                visit(target, [*trail, path])
            done.add(path)

    for path in sorted(graph):
        visit(path, [])
    return problems


def packages_import_nothing(files: Files) -> list[str]:
    """An __init__.py imports nothing: whoever needs one module of a package pays for that one only."""
    return [
        f"{path}:{found.line}: a package imports {found.module}; import it where it is used"
        for path, found, _ in _imports(files)
        if path.endswith("/__init__.py")
    ]


def two_interpreters(files: Files) -> list[str]:
    """A file for both interpreters imports what both have; the rest stands under the one allowed `if`."""
    both = set(runs_on_both(files))
    problems = []
    for path, found, target in _imports(files):
        if path not in both or found.branch == "cpython":
            continue
        where = f"{path}:{found.line}: imports {found.module}"
        if target is not None:
            head = _flat(head_of(files.get(target, "")))
            # A package without code is there on both.
            is_there = target in both or not files.get(target, "").strip()
            if not is_there and not (found.branch == "micropython" and "Runs on MicroPython." in head):
                problems.append(f'{where}, whose head does not say "{BOTH_INTERPRETERS}"; make it run there')
        elif found.module.partition(".")[0] not in IN_BOTH_LIBRARIES | (
            IN_MICROPYTHON_ONLY if found.branch == "micropython" else frozenset()
        ):
            problems.append(
                f"{where}, which not both interpreters have; import it in the right branch of "
                '`if sys.implementation.name == "micropython": .. else: ..`'
            )
    return problems


def board_files(files: Files) -> list[str]:
    """A file of devices/micropython imports what MicroPython has, and files that run there."""
    both = set(runs_on_both(files))
    problems = []
    for path, found, target in _imports(files):
        if not path.startswith("devices/micropython/"):
            continue
        known = IN_BOTH_LIBRARIES | IN_MICROPYTHON_ONLY | ON_BOARDS_ONLY
        is_there = (
            found.module.partition(".")[0] in known
            if target is None
            else target in both or target.startswith("devices/") or not files.get(target, "").strip()
        )
        if not is_there:
            problems.append(f"{path}:{found.line}: imports {found.module}, which is not there on a board")
    return problems


def file_heads(files: Files) -> list[str]:
    """Each file begins with a docstring whose first line is a sentence; puf and obd say where they run."""
    problems = []
    for path, text in python_files(files).items():
        if not text.strip() and path.endswith("__init__.py"):
            continue
        head = head_of(text)
        first_line = head.partition("\n")[0].rstrip()
        if not head:
            problems.append(
                f"{path}:1: has no docstring at its head; say what it is, where it runs, its source"
            )
        elif not first_line.endswith((".", "?")):
            problems.append(
                f"{path}:1: the first line of its docstring is no sentence; end it with a full stop"
            )
        flat = _flat(head)
        if "Runs on" in flat and "MicroPython" in flat and not any(known in flat for known in WHERE_IT_RUNS):
            problems.append(
                f'{path}:1: where it runs is not said in known words; write "{BOTH_INTERPRETERS}"'
            )
        elif path.startswith(("puf/", "obd/")) and not any(known in flat for known in WHERE_IT_RUNS):
            problems.append(
                f'{path}:1: does not say where it runs; write "{BOTH_INTERPRETERS}" or "Runs on CPython."'
            )
    return problems


def names_of_files(files: Files) -> list[str]:
    """No file is named like a package that it imports: run as a script, it would import itself."""
    problems = []
    for path, found, target in _imports(files):
        package = found.module.partition(".")[0]
        if target is None and module_name(path).rpartition(".")[2] == package:
            problems.append(
                f"{path}:{found.line}: is named like the package {package} that it imports; rename it"
            )
    return problems


def names_that_clash(top_level: set[str], others: Mapping[str, str]) -> list[str]:
    """No top-level name of ours is that of a package of `others` (name -> whose it is)."""
    return [
        f"{name}:1: {others[name]} has a package of this name, so one of the two is never found; rename ours"
        for name in sorted(top_level & set(others))
    ]


def units_of_names(files: Files) -> list[str]:
    """Public parameters, fields and constants end in the units of this project, not in others."""
    problems = []
    for path, text in python_files(files).items():
        if path.startswith("tests/") or path in IN_SI_UNITS:
            continue
        for line, name in sorted(set(_public_values(_parsed(text)))):
            stem, _, unit = name.lower().rpartition("_")
            # A rate, such as frames_per_second, is a count by the second.
            if stem and unit in _WRONG_UNITS and not f"_{stem}_".endswith("_per_"):
                problems.append(
                    f"{path}:{line}: {name} is in another unit than ours; use {_WRONG_UNITS[unit]}"
                )
    return problems


def _public_values(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of public parameters and attributes, and of what modules and classes assign."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if name.startswith("_") and not name.startswith("__"):
                    continue
            case ast.arg(arg=name) | ast.Attribute(attr=name, value=ast.Name(id="self"), ctx=ast.Store()):
                if not name.startswith("_"):
                    yield node.lineno, name
        if isinstance(tree, ast.Module | ast.ClassDef) and isinstance(node, ast.Assign | ast.AnnAssign):
            for target in getattr(node, "targets", None) or [getattr(node, "target", None)]:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    yield node.lineno, target.id
        yield from _public_values(node)


def hidden_errors(files: Files) -> list[str]:
    """Nobody catches everything, and nobody catches much and says nothing."""
    problems = []
    for path, text in python_files(files).items():
        for node in ast.walk(_parsed(text)):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", getattr(node.func, "id", "")).endswith("suppress")
                and {ast.unparse(kind) for kind in node.args} & {"Exception", "BaseException"}
            ):
                problems.append(f"{path}:{node.lineno}: hides every error; name the errors it expects")
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = [
                ast.unparse(kind) for kind in getattr(node.type, "elts", [node.type]) if kind is not None
            ]
            is_silent = all(
                isinstance(statement, ast.Pass | ast.Continue)
                or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
                for statement in node.body
            )
            if not caught:
                problems.append(
                    f"{path}:{node.lineno}: catches everything, even Ctrl-C; name the errors it expects"
                )
            elif is_silent and set(caught) & {"Exception", "BaseException"}:
                problems.append(
                    f"{path}:{node.lineno}: hides every error; name the errors it expects, or log"
                )
    return problems


def sizes_of_files(files: Files) -> list[str]:
    """A file of the product can be read in one sitting."""
    return [
        f"{path}:{PRODUCT_LINES_MAX + 1}: has {count} lines; split it where its story turns"
        for path, text in python_files(files).items()
        if not path.startswith("tests/") and (count := text.count("\n")) > PRODUCT_LINES_MAX
    ]


def forbidden_text(files: Files) -> list[str]:
    """No paths of one machine, no package index, no promises, no words from elsewhere: in any file."""
    problems = []
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in _FORBIDDEN_TEXT:
                if match := pattern.search(line):
                    problems.append(f"{path}:{number}: {match[0]!r} {what}")
            if not path.startswith("tests/") and _SHARED.search(line):
                problems.append(
                    f"{path}:{number}: points outside this repository; say here what is to be known"
                )
    return problems


def make_targets(files: Files) -> list[str]:
    """What people are told to type is a target of the Makefile; each target is phony and explained."""
    makefile = files["Makefile"]
    explained = set(re.findall(r"^([a-z-]+):[^#\n]*## \S", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))
    problems = [
        f"Makefile:1: {name} is not phony; a file of that name would stop it" for name in targets - phony
    ]
    problems += [f"Makefile:1: {name} is phony but has no rule" for name in phony - targets]
    # style is a part of test and of tidy; typed alone it would promise more than it does.
    problems += [
        f"Makefile:1: {name} is not explained; add ## and a sentence"
        for name in targets - explained - {"style"}
    ]
    for number, line in enumerate(makefile.splitlines(), 1):
        for name in re.findall(r"python -m (tests\.\w+)", line):
            module = name.replace(".", "/")
            if not {f"{module}.py", f"{module}/__main__.py"} & set(files):
                problems.append(f"Makefile:{number}: there is no module {name}; write it, or drop the target")
    for path in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", ".ci/run"):
        is_code = path == ".ci/run"
        for number, line in enumerate(files.get(path, "").splitlines(), 1):
            if line.startswith("```"):
                is_code = not is_code
            told = re.findall(r"`make ([a-z][a-z-]*)", line)
            if is_code:
                told += re.findall(r"(?:^|&& |exec |[0-9] )\s*make ([a-z][a-z-]*)", line)
            missing = [name for name in told if name not in targets]
            problems += [f"{path}:{number}: there is no `make {name}`; correct it" for name in missing]
    return problems


# The lock

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\]+?))?(?: \\)?")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")
_COMMENT = re.compile(r"(?:#.*)?")


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a lock."""

    line: int
    version: str
    marker: str
    hash_count: int


def locked_packages(text: str) -> dict[str, Locked]:
    """Canonical name -> what a lock says of it."""
    packages: dict[str, Locked] = {}
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _PIN.fullmatch(line):
            name = canonical(match[1])
            packages[name] = Locked(number, match[2], match[3] or "", 0)
        elif _HASH.fullmatch(line) and name:
            packages[name] = replace(packages[name], hash_count=packages[name].hash_count + 1)
    return packages


def canonical(name: str) -> str:
    """A package's name as indexes compare it.  Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_form(files: Files) -> list[str]:
    """A lock is pinned versions with hashes, and nothing else: no address, no option, no file."""
    problems = []
    for path in ("requirements.lock", "requirements-dev.lock"):
        for name, locked in locked_packages(files[path]).items():
            if not locked.hash_count:
                problems.append(f"{path}:{locked.line}: {name} has no hash; run make lock")
        for number, line in enumerate(files[path].splitlines(), 1):
            if not any(form.fullmatch(line) for form in (_PIN, _HASH, _COMMENT)):
                problems.append(
                    f"{path}:{number}: {line.strip()[:60]!r} is no pin and no hash; run make lock"
                )
            elif "://" in line:
                problems.append(f"{path}:{number}: names an address; whoever installs chooses theirs")
    return problems


ALL_RULES = (
    import_directions,
    import_cycles,
    packages_import_nothing,
    two_interpreters,
    board_files,
    file_heads,
    names_of_files,
    units_of_names,
    hidden_errors,
    sizes_of_files,
    forbidden_text,
    make_targets,
    lock_form,
)
"""Every rule that needs nothing but the files."""
