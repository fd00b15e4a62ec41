"""Which files of this repository a board's firmware consists of: found by following imports.

Runs on CPython.  Only what MicroPython gets to counts: of the one `if` by which a file tells interpreters
apart, its branch.  Imports inside of functions count too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

OURS = ("devices", "lock_controller", "obd", "puf")
"""Folders that firmware may take from."""


class FirmwareMissing(Exception):
    """A file that firmware needs is not there."""


def files_of(root: Path, mains: list[str]) -> list[str]:
    """Paths of `mains` and of all that they import of ours, sorted.  Raises FirmwareMissing.

    An empty __init__.py is left out: on a board a folder is a package without one.
    """
    found: set[str] = set()
    due = list(mains)
    while due:
        path = due.pop()
        if path in found:
            continue
        file = root / path
        if not file.is_file():
            raise FirmwareMissing(f"{path} is not there")
        found.add(path)
        for module in imports_of(file.read_text()):
            if module.partition(".")[0] in OURS:
                due.extend(_paths(root, module, path))
    return sorted(
        path for path in found if not path.endswith("__init__.py") or (root / path).read_text().strip()
    )


def _paths(root: Path, module: str, importer: str) -> list[str]:
    """The file of a module, and those of its packages.  `module` may be a name in a module, too."""
    parts = module.split(".")
    packages = [
        path
        for end in range(1, len(parts))
        if (root / (path := "/".join(parts[:end]) + "/__init__.py")).is_file()
    ]
    for end in (len(parts), len(parts) - 1):
        name = "/".join(parts[:end])
        if (root / f"{name}.py").is_file():
            return [*packages, f"{name}.py"]
        if end == len(parts) and (root / name).is_dir():
            return packages
    raise FirmwareMissing(f"{importer} imports {module}, which is not there")


def imports_of(text: str) -> set[str]:
    """Modules that a file imports under MicroPython, and names in them that may be modules."""
    return set(_imports(ast.parse(text)))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Modules, and names in them that may be modules."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.If(test=test) if ast.unparse(test) == "sys.implementation.name == 'micropython'":
                yield from _imports(ast.Module(node.body, []))
            case ast.If(test=test) if ast.unparse(test) == "sys.implementation.name != 'micropython'":
                yield from _imports(ast.Module(node.orelse, []))
            case _:
                yield from _imports(node)
