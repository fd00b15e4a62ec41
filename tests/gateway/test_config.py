"""The configuration file: what it means."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import (
    ChainSection,
    GatewayConfig,
    GatewaySection,
    SpoolSection,
    StoreSection,
    StreamConfig,
    UnknownStream,
    load,
    parse,
)
from gateway.config_template import template
from gateway.config_uplink import RemoteSection, UplinkSection
from gateway.sensors.schemes import parse_url

FILE = Path("gateway.toml")
STREAM = '[[stream]]\nname = "can0"\nsource = "can:can0"\n'


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
