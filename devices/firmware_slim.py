"""Leaves out of a role's files what the role never calls, so that it fits on a board.

Runs on CPython.  The files of `puf/` serve both ends of each protocol, and a board is one of them.

What stays: of the main file, all.  Of other files the functions, classes and constants that what stays refers
to, by the imports of each file; and of a class that stays, the methods and constants whose names stand
anywhere in what stays, behind a dot or as a whole string.  Names with two underscores around them, and all
that is neither definition nor assignment, always stay.  So nothing is missed unless a name is put together at
run time, which firmware must not do.  Whether that holds, the tests see that run what was built.

Constants in capitals that are whole numbers become those numbers; names that only these files can mean become
three letters long, in all files alike; and what an error says becomes the place where it is raised in the
files of the repository: `grant.py:120`.
"""

import ast
import asyncio
import gc
import hashlib
import math
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from devices.firmware_modules import imports_of

SHARED = "devices/micropython/boot_state.py"
"""What boot.py reads and writes, too."""
Name = tuple[str, str]
"""Path of a file, and a name at its top level; a name of "" is the file itself."""
TEXT_LENGTH_MIN = 12
"""Shorter words in an error are kept: they may be a reason that somebody looks at."""


@dataclass(slots=True)
class _Module:
    path: str
    tree: ast.Module
    imports: dict[str, Name] = field(default_factory=dict)
    """Name in this file -> what it stands for."""
    kept: set[ast.stmt] = field(default_factory=set)


def slim(sources: dict[str, str], mains: list[str]) -> dict[str, str]:
    """Path -> text of what is left of `sources`; `mains` are the files that stay whole."""
    modules = {path: _Module(path, _Chooser().visit(ast.parse(text))) for path, text in sources.items()}
    for module in modules.values():
        module.imports = dict(_bindings(module.tree, modules))
    for module in modules.values():
        for name, target in module.imports.items():
            # What another file only passes on.
            while target[1] in modules[target[0]].imports:
                target = modules[target[0]].imports[target[1]]
            module.imports[name] = target
    numbers = _find_numbers(modules)
    used: set[Name] = set()
    members: set[str] = set()

    def use(module: _Module, node: ast.AST) -> None:
        for kind, name in _names(node):
            if kind == "member":
                members.add(name)
                continue
            head = name.partition(".")[0]
            target = module.imports.get(head, (module.path, head))
            if target[1] == "" and "." in name:
                behind = _behind(modules, target[0], name.partition(".")[2])
                if behind not in numbers:
                    used.add(target)
                target = behind
            used.add(target)

    for path, module in modules.items():
        for statement in _fixed(module.tree.body):
            use(module, statement)
        if path in mains:
            module.kept.update(unit for unit, _ in _units(module.tree.body))
            for unit in list(module.kept):
                use(module, unit)
    count = -1
    while count != len(used) + len(members):
        count = len(used) + len(members)
        for module in modules.values():
            for unit, owner in _units(module.tree.body):
                if unit in module.kept or (owner is not None and owner not in module.kept):
                    continue
                names = _defines(unit)
                if names & members if owner is not None else {(module.path, name) for name in names} & used:
                    module.kept.add(unit)
                    use(module, unit)
    short = _short_names(modules, SHARED)
    texts = {path: _Slimmer(module, modules, used, numbers, short).text() for path, module in modules.items()}
    reached = _reached(texts, mains)
    return {path: text for path, text in texts.items() if path in reached}


def _behind(modules: dict[str, _Module], path: str, name: str) -> Name:
    """What `name` of the file at `path` is: its own, or what it only passes on."""
    return modules[path].imports.get(name, (path, name))


def _bindings(tree: ast.AST, modules: dict[str, _Module]) -> Iterator[tuple[str, Name]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            base = node.module.replace(".", "/")
            for name in node.names:
                if f"{base}/{name.name}.py" in modules:
                    yield name.asname or name.name, (f"{base}/{name.name}.py", "")
                elif f"{base}.py" in modules:
                    yield name.asname or name.name, (f"{base}.py", name.name)


def _defines(node: ast.stmt) -> set[str]:
    """Names that a definition, or an assignment to plain names, gives a value; else none."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            elements = target.elts if isinstance(target, ast.Tuple) else [target]
            if all(isinstance(element, ast.Name) for element in elements):
                return {element.id for element in elements if isinstance(element, ast.Name)}
    return set()


def _is_unit(node: ast.stmt) -> bool:
    """What can be left out."""
    names = _defines(node)
    return bool(names) and not any(name.startswith("__") and name.endswith("__") for name in names)


def _blocks(node: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of a statement at the top level whose content is looked at one by one."""
    match node:
        case ast.If(body=body, orelse=orelse):
            return [body, orelse]
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            return [body, *(handler.body for handler in handlers), orelse, final]
    return []


def _units(body: list[ast.stmt], owner: ast.stmt | None = None) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """Each unit, and the class that it is in."""
    for node in body:
        if _is_unit(node):
            yield node, owner
            if isinstance(node, ast.ClassDef):
                yield from _units(node.body, node)
        for block in _blocks(node):
            yield from _units(block, owner)


def _fixed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """What stays in any case, and is no import: tests of `if`, calls, assertions."""
    for node in body:
        if isinstance(node, ast.If):
            yield node.test
        elif not _is_unit(node) and not isinstance(node, ast.Import | ast.ImportFrom | ast.Try):
            yield node
        for block in _blocks(node):
            yield from _fixed(block)


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """("name", x or x.y) and ("member", y) of a node, but of units inside of it, and of annotations."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.stmt) and isinstance(node, ast.ClassDef) and _is_unit(child):
                continue
            match child:
                case ast.Name(id=word, ctx=ast.Load()):
                    yield "name", word
                case ast.Attribute(attr=word, value=inner):
                    yield "member", word
                    if isinstance(inner, ast.Name):
                        yield "name", f"{inner.id}.{word}"
                        continue
                case ast.Constant(value=str(text)) if text.isidentifier():
                    yield "member", text
            if isinstance(child, ast.AST):
                yield from _names(child)


class _Chooser(ast.NodeTransformer):
    """Takes the branch for MicroPython wherever a file tells interpreters apart, and no `__slots__`."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        match ast.unparse(node.test):
            case "sys.implementation.name == 'micropython'":
                return node.body
            case "sys.implementation.name != 'micropython'":
                return node.orelse
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if ast.unparse(node.targets[0]) == "__slots__" else node


class _Slimmer(ast.NodeTransformer):
    """Rewrites one file."""

    def __init__(
        self,
        module: _Module,
        modules: dict[str, _Module],
        used: set[Name],
        numbers: dict[Name, int],
        short: dict[str, str],
    ) -> None:
        self._module = module
        self._modules = modules
        self._used = used
        self._numbers = numbers
        self._short = short
        self._bound: list[set[str]] = []
        """Names that mean something else inside of a function."""

    def text(self) -> str:
        """The file as it is compiled."""
        self._block(self._module.tree.body)
        return ast.unparse(ast.fix_missing_locations(self.visit(self._module.tree)))

    def _block(self, body: list[ast.stmt]) -> None:
        """Takes out what is not kept."""
        left: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.ImportFrom):
                node.names = [name for name in node.names if self._is_needed(name)]
            is_out = isinstance(node, ast.ImportFrom) and not node.names
            is_out = is_out or (_is_unit(node) and (node not in self._module.kept or self._is_inlined(node)))
            if is_out or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                continue
            left.append(node)
            for block in [node.body] if isinstance(node, ast.ClassDef) else _blocks(node):
                self._block(block)
        if body:
            body[:] = left or [ast.Pass()]

    def _is_needed(self, name: ast.alias) -> bool:
        target = self._module.imports.get(name.asname or name.name)
        if target is None:
            return True
        return target in self._used and target not in self._numbers

    def _is_inlined(self, node: ast.stmt) -> bool:
        return all((self._module.path, name) in self._numbers for name in _defines(node)) and isinstance(
            node, ast.Assign
        )

    def _number(self, name: str, inner: str = "") -> int | None:
        if any(name in bound for bound in self._bound):
            return None
        target = self._module.imports.get(name, (self._module.path, name))
        if inner:
            return self._numbers.get(_behind(self._modules, target[0], inner)) if target[1] == "" else None
        return self._numbers.get(target)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        arguments = node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            argument.annotation = None
        node.returns = None
        if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
        self._bound.append(
            {
                inner.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
            }
            | {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}
        )
        self.generic_visit(node)
        self._bound.pop()
        node.name = self._short.get(node.name, node.name)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.name = self._short.get(node.name, node.name)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.value is None:
            return None
        return ast.Assign([node.target], node.value)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and (number := self._number(node.id)) is not None:
            return ast.Constant(number)
        return ast.Name(self._short.get(node.id, node.id), node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if (
            isinstance(node.value, ast.Name)
            and (number := self._number(node.value.id, node.attr)) is not None
        ):
            return ast.Constant(number)
        self.generic_visit(node)
        node.attr = self._short.get(node.attr, node.attr)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr", "setattr", "delattr"):
            match node.args:
                case [_, ast.Constant(value=str(name)), *_]:
                    node.args[1] = ast.Constant(self._short.get(name, name))
        self.generic_visit(node)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        # Those inside of functions, too.
        node.names = [name for name in node.names if self._is_needed(name)]
        if not node.names:
            return ast.Pass()
        self.generic_visit(node)
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        node.name = self._short.get(node.name, node.name)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        call = node.exc
        if isinstance(call, ast.Call):
            place = ast.Constant(f"{self._module.path.rpartition('/')[2]}:{node.lineno}")
            call.args = [place if _is_text(argument) else argument for argument in call.args]
        self.generic_visit(node)
        return node


def _is_text(argument: ast.expr) -> bool:
    match argument:
        case ast.JoinedStr():
            return True
        case ast.Constant(value=str(text)):
            return len(text) >= TEXT_LENGTH_MIN
        case ast.BinOp(left=left, right=right):
            return _is_text(left) or _is_text(right)
    return False


def _find_numbers(modules: dict[str, _Module]) -> dict[Name, int]:
    """Constants of files, named in capitals, that are whole numbers."""
    found: dict[Name, int] = {}
    count = -1
    while count != len(found):
        count = len(found)
        for module in modules.values():
            for unit, owner in _units(module.tree.body):
                if owner is None and isinstance(unit, ast.Assign) and len(unit.targets) == 1:
                    target = unit.targets[0]
                    pairs = (
                        list(zip(target.elts, unit.value.elts, strict=True))
                        if isinstance(target, ast.Tuple) and isinstance(unit.value, ast.Tuple)
                        else [(target, unit.value)]
                    )
                    values = [_value(module, value, found) for _, value in pairs]
                    if all(value is not None for value in values):
                        for (name, _), value in zip(pairs, values, strict=True):
                            if isinstance(name, ast.Name) and name.id.isupper() and value is not None:
                                found[module.path, name.id] = value
    return found


def _value(module: _Module, node: ast.expr, known: dict[Name, int]) -> int | None:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return known.get(module.imports.get(name, (module.path, name)))
        case ast.BinOp(left=left, op=operator, right=right):
            values = _value(module, left, known), _value(module, right, known)
            if values[0] is not None and values[1] is not None:
                text = ast.unparse(ast.BinOp(ast.Constant(values[0]), operator, ast.Constant(values[1])))
                result = eval(text, {"__builtins__": {}})  # noqa: S307  two numbers and an operator
                return result if isinstance(result, int) else None
    return None


def _short_names(modules: dict[str, _Module], shared: str) -> dict[str, str]:
    """For names that these files give to functions, classes and attributes, and that nobody else can mean.

    Those that begin with one underscore; and longer ones with an underscore inside, unless they are also a
    parameter, stand in a text, belong to a library, or to `shared`, a file that others read as it is.
    """
    private: set[str] = set()
    public: set[str] = set()
    others: set[str] = set(_LIBRARIES)
    for path, module in modules.items():
        for node in ast.walk(module.tree):
            match node:
                case (
                    ast.FunctionDef(name=name)
                    | ast.AsyncFunctionDef(name=name)
                    | ast.ClassDef(name=name)
                    | ast.Attribute(attr=name, ctx=ast.Store())
                ):
                    public.add(name)
                    private.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    private.add(name)
                case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)):
                    others.add(name)
                case ast.Constant(value=str(text)):
                    others.update(text.replace(",", " ").split())
                case ast.Global(names=names) | ast.Nonlocal(names=names):
                    others.update(names)
            if path == shared and isinstance(node, ast.Name):
                others.add(node.id)
    short = {name for name in private if name.startswith("_") and not name.startswith("__") and len(name) > 3}
    short |= {name for name in public - others if "_" in name.strip("_") and len(name) >= PUBLIC_LENGTH_MIN}
    # What is as short already keeps its name, and nothing else may get it.
    taken = {name for module in modules.values() for name in _every_name(module.tree)}
    free = (made for first in _LETTERS for second in _LETTERS if (made := f"_{first}{second}") not in taken)
    return dict(zip(sorted(short), free, strict=False))


def _every_name(tree: ast.Module) -> Iterator[str]:
    """Every name in a file, whatever it is the name of."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PUBLIC_LENGTH_MIN = 7
_LIBRARIES = {
    name
    for thing in (asyncio, bytes, bytearray, dict, gc, hashlib, int, list, math, memoryview, os, select, set)
    for name in dir(thing)
} | {
    name
    for thing in (socket, str, struct, sys, time, tuple, asyncio.StreamReader, asyncio.StreamWriter)
    for name in dir(thing)
}


def _reached(texts: dict[str, str], mains: list[str]) -> set[str]:
    """Paths that are still imported by what is reached from `mains`."""
    by_module = {path[:-3].replace("/", "."): path for path in texts}
    found: set[str] = set()
    due = list(mains)
    while due:
        path = due.pop()
        if path in found:
            continue
        found.add(path)
        for module in imports_of(texts[path]):
            for name in (module, module.rpartition(".")[0]):
                if name in by_module:
                    due.append(by_module[name])
                    break
    return found
