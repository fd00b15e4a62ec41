"""Whatever is in a configuration file, it is usable or refused, never a crash."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import (
    ConfigError,
    GatewayConfig,
    Problem,
    parse,
)

FILE = Path("gateway.toml")
STREAM = '[[stream]]\nname = "can0"\nsource = "can:can0"\n'


def outcome(text: str) -> GatewayConfig | tuple[Problem, ...]:
    """The configuration that `text` says, or all that is wrong with it."""
    try:
        return parse(text, FILE)
    except ConfigError as error:
        return error.problems


def assert_usable_or_refused(text: str) -> None:
    """What is not refused has the types that its annotations say; what is refused is named with its line."""
    found = outcome(text)
    if isinstance(found, tuple):
        assert found
        line_count = len(re.split("\r?\n", text))
        assert all(1 <= problem.line <= line_count and problem.problem and problem.hint for problem in found)
        return
    assert found.streams
    sections: list[Any] = [found.gateway, found.spool, found.store, found.chain, *found.streams]
    for section in sections:
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if field.type == tuple[str, ...]:
                assert isinstance(value, tuple)
                assert all(type(item) is str for item in value)
            else:
                assert type(value) is field.type, field.name


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=300)
@example("[[stream]]\n[stream.name]\nx=1")
@example("[gateway.name]")
@example("a = 1\r\r")
@example("'\x1e0")
def test_any_text_gives_a_configuration_or_a_config_error(text: str) -> None:
    assert_usable_or_refused(text)


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["can0", "can:can0", "sim:car", "1s", "", "~", "http://h"]),
    st.text(max_size=10),
)
KEYS = st.sampled_from(
    [
        *(
            "gateway",
            "spool",
            "store",
            "chain",
            "stream",
            "name",
            "key_file",
            "path",
            "size_max_mib",
            "block_s",
        ),
        *(
            "node_url",
            "fee_ucpc",
            "block_ms",
            "segment_blocks",
            "upload_segments",
            "dbc",
            "source",
        ),
        *("a b", "", 'q"\\', "timeout"),
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=6)


def as_toml(value: Any) -> str:
    """`value` in TOML, inline."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case list():
            return "[ " + ", ".join(map(as_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{as_toml(key)} = {as_toml(item)}" for key, item in value.items()) + " }"
        case _:
            return str(value)


@given(TABLES)
@settings(deadline=None, max_examples=300)
def test_any_tables_give_a_configuration_or_a_config_error(tables: dict[str, Any]) -> None:
    text = "".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in tables.items())
    assert_usable_or_refused(text)


@given(
    st.fixed_dictionaries({"name": SCALARS, "source": SCALARS}, optional={"block_ms": SCALARS, "dbc": VALUES})
)
@settings(deadline=None, max_examples=200)
def test_any_stream_gives_a_configuration_or_a_config_error(stream: dict[str, Any]) -> None:
    assert_usable_or_refused(
        "[[stream]]\n" + "".join(f"{key} = {as_toml(item)}\n" for key, item in stream.items())
    )
