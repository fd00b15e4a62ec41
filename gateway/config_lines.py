"""Where in a TOML text each key stands, which `tomllib` does not tell.

Runs on CPython; pure.  `key_positions` takes a text that `tomllib` has accepted, so it only has to find
keys and to step over values, never to judge them.  Source: toml.io, version 1.0.0.
"""

import re
import tomllib

KeyPath = tuple[str | int, ...]
"""Keys from the root, with an index where an array is entered: ("stream", 0, "block_ms")."""
Position = tuple[int, int]
"""Line and column, both from 1."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_OTHER_SCALAR = re.compile(r"[^,\]}#\n]*")


def key_positions(text: str) -> dict[KeyPath, Position]:
    """The first position of every key and table of `text`, which must be valid TOML."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._line = 0
        self._found: dict[KeyPath, Position] = {}
        self._table_counts: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, Position]:
        table: KeyPath = ()
        self._skip_space()
        while self._at < len(self._text):
            start = self._at
            if self._take("[["):
                *parents, last = self._keys("]")
                self._take("]]")
                array = (*self._table_path(parents), last)
                count = self._table_counts.get(array, 0)
                self._table_counts[array] = count + 1
                table = (*array, count)
                self._note(table, start)
            elif self._take("["):
                table = self._table_path(self._keys("]"))
                self._take("]")
                self._note(table, start)
            else:
                self._key_and_value(table)
            self._skip_space()
        return self._found

    def _key_and_value(self, table: KeyPath) -> None:
        start = self._at
        path = (*table, *self._keys("="))
        self._take("=")
        self._note(path, start)
        self._skip_space()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._take("["):
            self._skip_space()
            index = 0
            while not self._take("]"):
                self._note((*path, index), self._at)
                self._value((*path, index))
                index += 1
                self._next_item()
        elif self._take("{"):
            self._skip_space()
            while not self._take("}"):
                self._key_and_value(path)
                self._next_item()
        elif match := _STRING.match(self._text, self._at) or _OTHER_SCALAR.match(self._text, self._at):
            self._at = match.end()

    def _next_item(self) -> None:
        self._skip_space()
        self._take(",")
        self._skip_space()

    def _keys(self, end: str) -> list[str]:
        """The parts of a dotted key, up to (not including) `end`."""
        parts: list[str] = []
        self._skip_space()
        while not self._text.startswith(end, self._at):
            match = _BARE_KEY.match(self._text, self._at) or _STRING.match(self._text, self._at)
            if match is None:
                raise AssertionError(f"no key at {self._at}: the text was not valid TOML")
            self._at = match.end()
            # A quoted key may hold escapes; whoever decodes values decodes these too.
            is_bare = match.re is _BARE_KEY
            parts.append(match[0] if is_bare else tomllib.loads(f"key = {match[0]}")["key"])
            self._skip_space()
            self._take(".")
            self._skip_space()
        return parts

    def _table_path(self, keys: list[str]) -> KeyPath:
        """Where `[keys]` leads: through an array of tables, to its last table."""
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            if path in self._table_counts:
                path = (*path, self._table_counts[path] - 1)
        return path

    def _note(self, path: KeyPath, start: int) -> None:
        while self._line + 1 < len(self._line_starts) and self._line_starts[self._line + 1] <= start:
            self._line += 1
        position = (self._line + 1, start - self._line_starts[self._line] + 1)
        # The tables on the way stand, at the latest, where their first key does.
        for length in range(1, len(path) + 1):
            self._found.setdefault(path[:length], position)

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _take(self, token: str) -> bool:
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False
