"""What a node is told: node.toml in, checked settings out, or every problem with its line.

Runs on CPython.  Part of the command line, which starts nodes: settings are `chain_node.node_folder`'s.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chain_node.errors import StorageError
from chain_node.node_folder import CONFIG_NAME, LOOPBACK, PORT, RPC_PORT, Settings
from chain_node.peer_address import Address, parse_address
from chain_node.peer_admission import Limits
from chain_node.pruning import OPTIONS, retention_of
from gateway import config_values as values
from gateway.config import ConfigError, Problem
from gateway.config_lines import KeyPath, Position, key_positions

SIZE_MAX = 1 << 20
"""Bytes of a node.toml; a larger file is something else."""
CONNECTIONS_MAX = 10_000


def _listen(port: int) -> values.Checker:
    """Where to listen; the port is the example's."""
    example = f'"{LOOPBACK}:{port}"'

    def check(value: Any, key: str) -> Address:
        address = parse_address(values.a_text(value, f"{key} = {example}"))
        if address is None or address.public:
            raise values.Refused("is no address: host:port, or [IPv6]:port", f"write for example {example}")
        return address

    return check


def _dial(value: Any, key: str) -> tuple[Address, ...]:
    """Peers to stay connected with."""
    example = f'dial = ["{LOOPBACK}:{PORT}"]'
    if not isinstance(value, list):
        raise values.Refused("is not a list of addresses", f"write {example}")
    addresses = []
    for item in value:
        address = parse_address(item) if isinstance(item, str) else None
        if address is None or address.port == 0:
            raise values.Refused(
                f"whose item {values.shown(item)} is no address", "write host:port, or key@host:port"
            )
        addresses.append(address)
    return tuple(dict.fromkeys(addresses))


def _as_it_is(value: Any, key: str) -> Any:
    """Read with the others of its table; see `retention_of`."""
    try:
        retention_of({key: value})
    except StorageError as error:
        raise values.Refused("cannot be", error.why) from None
    return value


_COUNT = values.whole(0, CONNECTIONS_MAX, "a count is not negative", "no machine has so many files open", 32)
SECTIONS: dict[str, dict[str, tuple[str, values.Checker]]] = {
    "node": {
        "name": ("name", values.name),
        "key_file": ("key_file", values.path),
        "genesis": ("genesis", values.path),
        "database": ("database", values.path),
    },
    "peers": {
        "listen": ("listen", values.empty_or(_listen(PORT))),
        "dial": ("dial", _dial),
        "strangers_max": ("strangers_max", _COUNT),
        "strangers_by_address_max": ("strangers_by_address_max", _COUNT),
    },
    "storage": {name: (name, _as_it_is) for name in ("keep", *OPTIONS)},
    "rpc": {
        "listen": ("rpc", _listen(RPC_PORT)),
        "treasury_file": ("treasury_file", values.path),
    },
}
"""By section and key: the name among `Settings` or `Limits`, and its checker."""


def load(folder: Path) -> Settings:
    """The settings in the folder's node.toml.  Raises ConfigError with all that is wrong in it."""
    path = folder / CONFIG_NAME
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            raise _error(path, 1, "is larger than 1 MiB", "name the folder of a node")
        return parse(data.decode(), path)
    except FileNotFoundError:
        raise _error(path, 1, "there is no such file", "cpc node init makes one") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(path, line, "a byte is not UTF-8", "save the file as UTF-8") from None
    except OSError as error:
        raise _error(path, 1, f"cannot be read: {error.strerror}", "check the path and its rights") from None


def parse(text: str, path: Path) -> Settings:
    """The settings that `text` says; `path` is what errors call it."""
    try:
        tables = tomllib.loads(text)
        positions = key_positions(text)
    except tomllib.TOMLDecodeError as error:
        line = getattr(error, "lineno", None) or _line_in(str(error)) or text.count("\n") + 1
        what = str(error).partition(" (at ")[0]
        raise _error(path, line, what[:1].lower() + what[1:200], "write key = value") from None
    except (RecursionError, ValueError):
        raise _error(path, 1, "holds what no value can be", "write texts, numbers and lists") from None
    kept, problems = _checked(tables, path, positions)
    if problems:
        raise ConfigError(tuple(sorted(problems, key=lambda problem: problem.line)))
    limits = {name: kept.pop(name) for name in ("strangers_max", "strangers_by_address_max") if name in kept}
    storage = {name: kept.pop(name) for name in ("keep", *OPTIONS) if name in kept}
    kept["retention"] = retention_of(storage)
    if kept.get("listen") == "":
        kept["listen"] = None
    return Settings(**kept, limits=Limits(**limits))


def _checked(
    tables: dict[str, Any], path: Path, positions: Mapping[KeyPath, Position]
) -> tuple[dict[str, Any], list[Problem]]:
    kept: dict[str, Any] = {}
    problems: list[Problem] = []

    def add(at: KeyPath, problem: str, hint: str) -> None:
        line, column = positions.get(at, (1, 1))
        problems.append(Problem(line, column, path, str(at[-1]), problem, hint))

    for section, table in tables.items():
        if section not in SECTIONS:
            add((section,), f"{values.key_shown(section)} is not known", _meant(section, list(SECTIONS)))
            continue
        if not isinstance(table, dict):
            add((section,), f"{section} is not a table", f"write [{section}], and its keys below")
            continue
        for key, value in table.items():
            who = f"[{section}] {values.key_shown(key)}"
            if key not in SECTIONS[section]:
                add((section, key), f"{who} is not known", _meant(key, list(SECTIONS[section])))
                continue
            name, checker = SECTIONS[section][key]
            try:
                kept[name] = checker(value, key)
            except values.Refused as refused:
                add((section, key), f"{who} = {values.shown(value)} {refused.problem}", refused.hint)
    return kept, problems


def _meant(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key[:64], known, n=1)
    return f"do you mean {near[0]}?" if near else "known are " + ", ".join(known)


def _line_in(words: str) -> int | None:
    _, _, where = words.partition(" (at line ")
    digits = where.partition(",")[0]
    return int(digits) if digits.isdigit() else None


def _error(path: Path, line: int, problem: str, hint: str) -> ConfigError:
    return ConfigError((Problem(line, None, path, "", problem, hint),))
