"""Where keys stand in a TOML file, however it is written."""

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config_lines import KeyPath, key_positions
from tests.gateway.test_config_any import KEYS, VALUES, as_toml


def test_keys_are_found_wherever_toml_lets_them_stand() -> None:
    text = r'''# name = "not here"
top = 1
"quoted \u0041.b" = 2
a.b . "c" = 3

[ section ] # [[no]]
text = """
fake = 1 \"""
[fake] """"
lit = '''
    text += "'''\nx = 1''''\n"
    text += """\
list = [ # comment, ]
  { p = 1, "q" = [1, 2] },
  1979-05-27 07:32:00, 'a # b',
]
[[stream]]
  name = "a"
[stream.sub]
deep = {x.y = 1}
[[stream]]
name = "b"
[[stream.sub]]
z = 1
"""
    tomllib.loads(text)
    positions = key_positions(text)
    expected: dict[KeyPath, tuple[int, int]] = {
        ("top",): (2, 1),
        ("quoted A.b",): (3, 1),
        ("a", "b", "c"): (4, 1),
        ("section",): (6, 1),
        ("section", "text"): (7, 1),
        ("section", "lit"): (10, 1),
        ("section", "list"): (12, 1),
        ("section", "list", 0): (13, 3),
        ("section", "list", 0, "p"): (13, 5),
        ("section", "list", 0, "q"): (13, 12),
        ("section", "list", 0, "q", 1): (13, 22),
        ("section", "list", 1): (14, 3),
        ("section", "list", 2): (14, 24),
        ("stream", 0): (16, 1),
        ("stream", 0, "name"): (17, 3),
        ("stream", 0, "sub"): (18, 1),
        ("stream", 0, "sub", "deep", "x", "y"): (19, 9),
        ("stream", 1): (20, 1),
        ("stream", 1, "name"): (21, 1),
        ("stream", 1, "sub", 0): (22, 1),
        ("stream", 1, "sub", 0, "z"): (23, 1),
    }
    assert {path: positions.get(path) for path in expected} == expected
    assert ("name",) not in positions
    assert ("fake",) not in positions


@given(st.lists(st.tuples(KEYS, VALUES), max_size=6, unique_by=lambda pair: pair[0]), st.booleans())
@settings(deadline=None, max_examples=200)
def test_every_key_of_any_file_is_found_on_its_line(pairs: list[tuple[str, Any]], is_dos: bool) -> None:
    end = "\r\n" if is_dos else "\n"
    text = "".join(
        f"# {index}{end}{as_toml(key)} = {as_toml(value)}{end}" for index, (key, value) in enumerate(pairs)
    )
    positions = key_positions(text)

    def paths(value: Any) -> list[KeyPath]:
        items = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        return [(), *((key, *rest) for key, item in items for rest in paths(item))]

    expected = {
        (key, *rest): 2 * (index + 1) for index, (key, value) in enumerate(pairs) for rest in paths(value)
    }
    assert {path: line for path, (line, _) in positions.items()} == expected
