"""Everything that is wrong in a configuration file is named with its line, and with what to write."""

import json
import re
from pathlib import Path

import pytest

from gateway.config import (
    PROBLEMS_SHOWN_MAX,
    SIZE_MAX,
    ConfigError,
    Problem,
    load,
    parse,
)
from gateway.config_template import template

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
