"""The configuration file: what it means, and that everything wrong in it is named with its line."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import (
    PROBLEMS_SHOWN_MAX,
    SIZE_MAX,
    ChainSection,
    ConfigError,
    GatewayConfig,
    GatewaySection,
    Problem,
    SpoolSection,
    StoreSection,
    StreamConfig,
    UnknownStream,
    load,
    parse,
)
from gateway.config_lines import KeyPath, key_positions
from gateway.config_template import template
from gateway.config_units import same_in_another_unit, whole_number
from gateway.config_uplink import RemoteSection, UplinkSection
from gateway.sensors.schemes import parse_url

FILE = Path("gateway.toml")
STREAM = '[[stream]]\nname = "can0"\nsource = "can:can0"\n'


def problems_of(text: str) -> list[str]:
    """What is wrong with `text`, as a user reads it."""
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return str(caught.value).splitlines()


def problem_of(text: str) -> str:
    """The one thing that is wrong with `text`."""
    problems = problems_of(text)
    assert len(problems) == 1, problems
    return problems[0]


def said(line: str) -> list[str]:
    """Problem and hint of `line`, in a stream that is right otherwise, without what all have in common."""
    with pytest.raises(ConfigError) as caught:
        parse(STREAM + line, FILE)
    (found,) = caught.value.problems
    assert (found.line, found.path) == (4, FILE)
    assert found.problem.startswith('stream "can0": ')
    return [found.problem.removeprefix('stream "can0": ').removeprefix(f"{line} "), found.hint]


# What it means


def test_the_template_loads_and_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(template())
    assert load(tmp_path / "gateway.toml") == GatewayConfig(
        file=tmp_path / "gateway.toml",
        streams=(StreamConfig("can0", "sim:car"),),
        gateway=GatewaySection(),
        spool=SpoolSection(),
        store=StoreSection(),
        chain=ChainSection(),
    )


def test_a_file_without_optional_keys_means_the_same_as_the_template() -> None:
    shortest = parse('[[stream]]\nname = "can0"\nsource = "sim:car"', FILE)
    assert shortest == parse(template(), FILE)


def test_the_defaults_are_those_of_the_design() -> None:
    config = parse(STREAM, FILE)
    stream = config.streams[0]
    assert (stream.block_ms, stream.segment_blocks, stream.upload_segments) == (1000, 5, 12)
    assert (stream.dbc, stream.slot_ms) == (
        (),
        5000,
    )
    assert (config.spool.size_max_mib, config.spool.disk_free_min_mib) == (1024, 64)
    assert (config.chain.node_url, config.chain.fee_ucpc) == ("http://127.0.0.1:7545", 0)
    assert (config.chain.poll_ms, config.chain.timeout_ms) == (500, 10_000)
    assert config.store.file_size_min_kib == 64


SECTIONS = {
    "gateway": GatewaySection,
    "spool": SpoolSection,
    "store": StoreSection,
    "chain": ChainSection,
    "uplink": UplinkSection,
    "remote": RemoteSection,
}


def test_the_template_explains_every_key() -> None:
    lines = template().splitlines()
    tables = tomllib.loads(template())
    keys = [key for name in SECTIONS for key in tables[name]]
    keys += tables["stream"][0]
    fields = {
        field.name for section in (*SECTIONS.values(), StreamConfig) for field in dataclasses.fields(section)
    }
    assert set(keys) == fields
    for key in fields:
        places = [index for index, line in enumerate(lines) if line.startswith(f"{key} = ")]
        assert places, key
        assert all(lines[place - 1].startswith("#") for place in places), key


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=3))
@settings(deadline=None, max_examples=100)
@example('a"b\\c\x7f\x00\n', ["\u2028"])
def test_the_template_carries_any_text_unharmed(text: str, files: list[str]) -> None:
    tables = tomllib.loads(
        template(name=text, node_url=text, genesis=text, stream=text, source=text, dbc=files)
    )
    assert tables["gateway"]["name"] == text
    assert tables["chain"]["node_url"] == tables["chain"]["genesis"] == text
    assert tables["stream"][0]["name"] == tables["stream"][0]["source"] == text
    assert tables["stream"][0]["dbc"] == files


def test_paths_start_in_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site" / "g.toml").write_text(
        '[gateway]\nkey_file = "keys/k"\n[store]\npath = "/srv/chunks"\n'
        '[[stream]]\nname = "a"\nsource = "replay:trips/1.trc?speed=max"\ndbc = ["car.dbc", "/etc/x.dbc"]\n'
        '[[stream]]\nname = "b"\nsource = "can:can0"\n'
    )
    config = load("site/g.toml")
    site = tmp_path / "site"
    assert config.key_path == site / "keys/k"
    assert config.spool_path == site / "spool"
    assert config.store_path == Path("/srv/chunks")
    assert config.genesis_path == site / "genesis.cbor"
    first, second = config.streams
    assert config.dbc_paths(first) == (site / "car.dbc", Path("/etc/x.dbc"))
    assert config.source_url(first) == f"replay:{site}/trips/1.trc?speed=max"
    assert config.source_url(second) == "can:can0"
    assert config.stream("b") is second


def test_a_question_mark_in_a_folder_is_not_taken_for_options() -> None:
    config = parse('[[stream]]\nname = "a"\nsource = "replay:1.trc"', Path("/what?/g.toml"))
    assert config.source_url(config.streams[0]) == "replay:/what?/1.trc?"


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("csv:a b.csv?time=T&delimiter=;", "csv:/site/a b.csv?time=T&delimiter=%3B"),
        (
            "obd:/dev/ttyUSB0?table=my car.toml&baud=9600",
            "obd:/dev/ttyUSB0?table=/site/my%20car.toml&baud=9600",
        ),
        ("mqtts://h/t/#?ca=/etc/ca.pem&v=5", "mqtts://h/t/#?ca=/etc/ca.pem&v=5"),
        ("serial:/dev/ttyACM0?framing=cobs", "serial:/dev/ttyACM0?framing=cobs"),
    ],
)
def test_every_file_that_a_source_names_is_found_beside_the_configuration(source: str, url: str) -> None:
    config = parse(f'[[stream]]\nname = "a"\nsource = "{source}"', Path("/site/g.toml"))
    assert config.source_url(config.streams[0]) == url
    assert dict(parse_url(url)[0].options).keys() == dict(parse_url(source)[0].options).keys()


def test_asking_for_a_stream_that_is_not_there_names_those_that_are() -> None:
    config = parse(STREAM, FILE)
    with pytest.raises(UnknownStream, match="no stream is called 'can1'; there are: can0"):
        config.stream("can1")


# What is wrong with it


def test_every_problem_of_a_file_is_reported_at_once_in_the_order_of_lines() -> None:
    text = """\
[gateway]
name = "My Gateway"
key_fil = "x"

[[stream]]
source = "can:can0"
block_ms = "1s"
[[stream]]
name = "can1"
dbc = "x.dbc"
[spool]
size_max_mib = -1
[store]
path = ["a"]
"""
    assert problems_of(text) == [
        (
            'gateway.toml:2: [gateway] name = "My Gateway" is no name: 1 to 32 of a-z, 0-9, _ and - are; '
            'write for example "my-gateway"'
        ),
        "gateway.toml:3: [gateway] key_fil is not known; do you mean key_file?",
        'gateway.toml:5: stream 1: name is missing; write name = "can0"',
        'gateway.toml:7: stream 1: block_ms = "1s" is not a whole number of milliseconds; write 1000',
        'gateway.toml:8: stream "can1": source is missing; write source = "can:can0"',
        (
            'gateway.toml:10: stream "can1": dbc = "x.dbc" is one text where a list belongs; '
            'write dbc = ["x.dbc"]'
        ),
        (
            "gateway.toml:12: [spool] size_max_mib = -1 is too small: a spool needs room for one upload; "
            "write at least 1"
        ),
        'gateway.toml:14: [store] path = a list is not a text; write path = "path"',
    ]


def test_a_problem_carries_its_parts() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(STREAM + "  block_ms = 5.5", FILE)
    assert caught.value.problems == (
        Problem(
            line=4,
            column=3,
            path=FILE,
            key="block_ms",
            problem='stream "can0": block_ms = 5.5 is not a whole number of milliseconds',
            hint="write for example 1000",
        ),
    )


@pytest.mark.parametrize(
    ("line", "problem", "hint"),
    [
        ("block_s = 5", "block_s is not known", "say it in milliseconds: block_ms = 5000"),
        ("block_seconds = 0.5", "block_seconds is not known", "say it in milliseconds: block_ms = 500"),
        ('block = "2 min"', "block is not known", "say it in milliseconds: block_ms = 120000"),
        ("block = true", "block is not known", "say it in milliseconds: block_ms"),
        ("block_ns = 7", "block_ns is not known", "say it in milliseconds: block_ms"),
        ("blok_ms = 5", "blok_ms is not known", "do you mean block_ms?"),
        ("timeout_ms = 5", "timeout_ms is not known", "it belongs below [chain]"),
        ("block_ms = 1000.0", "is not a whole number of milliseconds", "write 1000"),
        ("block_ms = true", "is not a whole number of milliseconds", "write for example 1000"),
        ("block_ms = nan", "is not a whole number of milliseconds", "write for example 1000"),
        ("block_ms = 9", "is too small: a block would hold hardly a record", "write at least 10"),
        ("block_ms = 3600001", "is too large: a power cut may cost a block", "write at most 3600000"),
        ('segment_blocks = "x"', "is not a whole number", "write for example 5"),
        ("segment_blocks = 3601", "is too large: a grant would share too much at once", "write at most 3600"),
        ("upload_segments = 0", "is too small: an upload has at least one segment", "write at least 1"),
        (
            "upload_segments = 1441",
            "is too large: records would wait too long for their anchor",
            "write at most 1440",
        ),
        ("dbc = 5", "is not a list of files", 'write dbc = ["file"]'),
        ('dbc = ["a", 5]', "dbc = a list whose item 5 is not a text", 'write dbc = ["car.dbc"]'),
        (
            'dbc = ["a\\u0000"]',
            'dbc = a list whose item "a\\x00" holds a NUL character, which no path can',
            "remove it",
        ),
    ],
)
def test_a_wrong_line_of_a_stream_says_what_to_write(line: str, problem: str, hint: str) -> None:
    assert said(line) == [problem, hint]


def test_a_number_too_large_to_print_is_named_instead() -> None:
    expected = "block_ms = a number beyond 64 bits is too large: a power cut may cost a block"
    assert said(f"block_ms = 0x{'f' * 5000}") == [expected, "write at most 3600000"]


def test_a_key_like_none_shows_those_there_are_and_is_printed_safely() -> None:
    all_keys = "name, source, block_ms, segment_blocks, upload_segments, dbc, overrun, uplink"
    assert said('"what is\\nthis" = 5') == ['"what is\\nthis" is not known', f"known are {all_keys}"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('node_url = "127.0.0.1:7545"', "is no http or https address"),
        ('node_url = "http://"', "is no http or https address"),
        ('node_url = "http://a b/"', "is no http or https address"),
        ('node_url = "http://h:99999"', "is no address: Port out of range 0-65535"),
        ('node_url = "http://[::1"', "is no address: Invalid IPv6 URL"),
        ("node_url = 7545", "is not a text"),
        ('genesis = ""', "is empty"),
        ('genesis = "~/genesis.cbor"', "starts with ~, which only a shell understands"),
        ("fee_ucpc = -1", "is too small: a fee cannot be negative"),
        ('fee_ucpc = "0.5 CPC"', "is not a whole number of micro-CPC; write 500000"),
        ("poll_ms = 1", "is too small: the node would do nothing but answer"),
        ("timeout_ms = 99", "is too small: a healthy node may need that long"),
    ],
)
def test_a_wrong_line_of_the_chain_says_what_is_wrong(line: str, expected: str) -> None:
    key = line.partition(" ")[0]
    text = problem_of(f"{STREAM}[chain]\n{line}")
    assert re.match(rf"gateway.toml:5: \[chain] {key} = .* ?{re.escape(expected)}; ?", text + "; "), text


@pytest.mark.parametrize("url", ["http://127.0.0.1:7545", "https://node.example/rpc", "http://[::1]:7545"])
def test_addresses_of_nodes_are_taken_as_they_are(url: str) -> None:
    assert parse(f'{STREAM}[chain]\nnode_url = "{url}"', FILE).chain.node_url == url


@pytest.mark.parametrize("periods", [(250, 4), (10, 100), (1000, 1)])
def test_a_key_may_serve_one_second(periods: tuple[int, int]) -> None:
    text = f"{STREAM}block_ms = {periods[0]}\nsegment_blocks = {periods[1]}\n"
    assert parse(text, FILE).streams[0].slot_ms == 1000


@pytest.mark.parametrize(("block_ms", "segment_blocks", "enough"), [(250, 3, 4), (10, 99, 100), (999, 1, 2)])
def test_a_key_that_serves_less_is_refused(block_ms: int, segment_blocks: int, enough: int) -> None:
    assert problem_of(f"{STREAM}block_ms = {block_ms}\nsegment_blocks = {segment_blocks}\n") == (
        f'gateway.toml:5: stream "can0": block_ms = {block_ms} and segment_blocks = {segment_blocks} give a '
        f"key every {block_ms * segment_blocks} ms, and a stream's 2^30 keys, counted from 2010, would be "
        f"used up too soon; write segment_blocks = {enough} or more (1000 ms)"
    )


def test_the_years_that_the_template_names_are_right() -> None:
    year_ms = 31_556_952_000
    assert "last until 2044, at 5000 ms until 2180" in template()
    assert 2010 + (2**30 * 1000) // year_ms == 2044
    assert 2010 + (2**30 * 5000) // year_ms == 2180


def test_two_streams_of_one_name_are_refused_with_both_lines() -> None:
    assert problem_of(f"{STREAM}{STREAM}") == (
        'gateway.toml:5: stream "can0": line 2 has a stream of that name; give each stream its own'
    )


@pytest.mark.parametrize("name", ["", "CAN0", "a/b", "can 0", "ü", "a" * 33, "..", "can0\n"])
def test_names_that_are_no_safe_file_names_are_refused(name: str) -> None:
    assert "name = " in problem_of(f'[[stream]]\nname = {json.dumps(name)}\nsource = "sim:car"')


@pytest.mark.parametrize("name", ["a", "can0", "0_-z", "a" * 32])
def test_names_are_taken_as_they_are(name: str) -> None:
    assert parse(f'[[stream]]\nname = "{name}"\nsource = "sim:car"', FILE).streams[0].name == name


def test_a_source_that_does_not_exist_is_refused_before_anything_starts() -> None:
    text = problem_of('[[stream]]\nname = "a"\nsource = "cann:can0"')
    assert text.startswith('gateway.toml:3: stream "a": source = "cann:can0" opens no source; ')
    assert "can, can+virtual" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "gateway.toml:1: there is no stream; write [[stream]], and below it "),
        ("stream = []", "gateway.toml:1: there is no stream; "),
        ("stream = [5]", "gateway.toml:1: stream 1 is not a table; write [[stream]] and its keys below"),
        ('\n[stream]\nname = "a"', "gateway.toml:2: [stream] is one table where a list of streams belongs; "),
        (f"{STREAM}[streams]", "gateway.toml:4: streams is not known; do you mean [[stream]]?"),
        (f"{STREAM}[sto]", "gateway.toml:4: sto is not known; do you mean [store]?"),
        (
            f"size_max_mib = 5\n{STREAM}",
            "gateway.toml:1: size_max_mib is not known; it belongs below [spool]",
        ),
        (
            f"spool = 5\n{STREAM}",
            "gateway.toml:1: spool = 5 is not a table; write [spool] on a line of its own",
        ),
        (
            f"xyzzy = 5\n{STREAM}",
            "gateway.toml:1: xyzzy is not known; there are [gateway], [spool], [store], ",
        ),
        (f"[chain]\n{STREAM}block_ms = \n", "gateway.toml:5: invalid value at column 12; "),
        (
            f"{STREAM}name = 'b'\n",
            "gateway.toml:4: cannot overwrite a value at column 11; each key and each [table]",
        ),
        ("a = '", 'gateway.toml:1: expected "\'"; write key = value'),
        (
            "\ufeff" + STREAM,
            "gateway.toml:1: begins with a byte order mark; save the file as UTF-8 without one",
        ),
        ("a = " + "[" * 5000, "gateway.toml:1: is nested too deeply; "),
        (
            f"a = {'9' * 5000}",
            "gateway.toml:1: exceeds the limit (4300 digits) for integer string conversion",
        ),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, expected: str) -> None:
    assert problem_of(text).startswith(expected), problem_of(text)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, expected in [
        (tmp_path / "absent.toml", "there is no such file; cpc init writes one"),
        (tmp_path, "cannot be read: Is a directory"),
        (Path("a\0b"), "cannot be read: embedded null byte"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert expected in str(caught.value)
    (tmp_path / "large.toml").write_bytes(b"#" * (SIZE_MAX + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(tmp_path / "large.toml")
    (tmp_path / "latin.toml").write_bytes(b'\n\nname = "caf\xe9"')
    with pytest.raises(ConfigError, match=r"latin.toml:3: byte 0xe9 is not UTF-8"):
        load(tmp_path / "latin.toml")


def test_a_flood_of_problems_is_counted_not_printed() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(STREAM + "".join(f"k{number} = 1\n" for number in range(100)), FILE)
    assert len(caught.value.problems) == 100
    assert len(str(caught.value).splitlines()) == PROBLEMS_SHOWN_MAX + 1
    assert str(caught.value).endswith("and 80 more")


# Anything at all


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


# Where keys stand


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


# What people mean


@pytest.mark.parametrize(
    ("value", "unit", "said_in", "expected"),
    [
        ("1s", "ms", None, 1000),
        ("1.5 min", "ms", None, 90_000),
        ("250", "ms", None, 250),
        (2, "ms", "hours", 7_200_000),
        ("1us", "ms", None, None),
        ("64 MB", "mib", None, None),
        ("2 GiB", "mib", None, 2048),
        ("1m", "kib", None, 1024),
        (0.25, "ucpc", "cpc", 250_000),
        ("1s", "mib", None, None),
        ("7", None, None, 7),
        ("7s", None, None, None),
        (True, "ms", None, None),
        (-1, "ms", None, None),
        (1e300, "ms", None, None),
        (1 << 70, "ms", None, None),
    ],
)
def test_what_a_person_means_is_worked_out_or_left(
    value: object, unit: str | None, said_in: str | None, expected: int | None
) -> None:
    assert whole_number(value, unit, said_in) == expected


def test_a_key_in_another_unit_is_known_by_its_stem() -> None:
    known = ["name", "block_ms", "size_max_mib"]
    assert same_in_another_unit("block_seconds", known) == ("block_ms", "seconds")
    assert same_in_another_unit("size_max_GB", known) == ("size_max_mib", "gb")
    assert same_in_another_unit("block", known) == ("block_ms", None)
    assert same_in_another_unit("block_gb", known) is None
    assert same_in_another_unit("name_s", known) is None
