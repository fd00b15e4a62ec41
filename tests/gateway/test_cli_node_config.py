"""node.toml: what is made is read the same, and all that is wrong is told with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain_node.node_folder import Settings, to_toml
from chain_node.peer_address import Address
from chain_node.peer_admission import Limits
from chain_node.pruning import ARCHIVE, Retention
from gateway.cli_node_config import load, parse
from gateway.config import ConfigError

PATH = Path("net/node.toml")
FULL = Settings(
    name="validator-1",
    key_file='a "key"',
    genesis="../genesis.cbor",
    database="chain\\x.sqlite",
    listen=Address("127.0.0.1", 7600),
    dial=(Address("::1", 7601), Address("node.example", 7602, bytes(range(32)))),
    limits=Limits(strangers_max=5, strangers_by_address_max=2),
    retention=ARCHIVE,
    rpc=Address("127.0.0.1", 7700),
    treasury_file="../treasury.key",
)


@pytest.mark.parametrize("settings", [Settings(), FULL])
def test_what_is_made_is_read_the_same(settings: Settings) -> None:
    assert parse(to_toml(settings), PATH) == settings


def test_an_empty_file_says_what_is_so_by_itself() -> None:
    assert parse("", PATH) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[nodes]\n", "net/node.toml:1: nodes is not known; do you mean node?"),
        ("node = 1\n", "net/node.toml:1: node is not a table; write [node], and its keys below"),
        ("[node]\n\nnam = 'x'\n", "net/node.toml:3: [node] nam is not known; do you mean name?"),
        (
            "[peers]\nlisten = 'host'\n",
            (
                'net/node.toml:2: [peers] listen = "host" is no address: host:port, or [IPv6]:port; '
                'write for example "127.0.0.1:7600"'
            ),
        ),
        (
            "[peers]\ndial = '127.0.0.1:1'\n",
            (
                'net/node.toml:2: [peers] dial = "127.0.0.1:1" is not a list of addresses; '
                'write dial = ["127.0.0.1:7600"]'
            ),
        ),
        (
            "[peers]\ndial = ['a:1', 'b:0']\n",
            (
                'net/node.toml:2: [peers] dial = a list whose item "b:0" is no address; '
                "write host:port, or key@host:port"
            ),
        ),
        (
            "[peers]\nstrangers_max = -1\n",
            (
                "net/node.toml:2: [peers] strangers_max = -1 is too small: a count is not negative; "
                "write at least 0"
            ),
        ),
        (
            "[rpc]\nlisten = ''\n",
            'net/node.toml:2: [rpc] listen = "" is empty; write listen = "127.0.0.1:7545"',
        ),
        (
            "[rpc]\nlisten\n",
            "net/node.toml:2: expected '=' after a key in a key/value pair; write key = value",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, PATH)
    assert str(caught.value) == told


def test_what_is_kept_of_the_past_is_a_kind_with_exceptions() -> None:
    text = '[storage]\nkeep = "archive"\nbodies_bytes_max = 1000000\nheaders_kept = "all"\n'
    assert parse(text, PATH).retention == Retention(None, 1_000_000, None)
    with pytest.raises(ConfigError) as caught:
        parse('[storage]\nkeep = "some"\nheaders_kept = 0\n', PATH)
    assert [str(problem).split(" cannot be; ")[0] for problem in caught.value.problems] == [
        'net/node.toml:2: [storage] keep = "some"',
        "net/node.toml:3: [storage] headers_kept = 0",
    ]


def test_all_that_is_wrong_is_told_at_once_in_order() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[rpc]\nx = 1\n[node]\nname = 'A'\n", PATH)
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_a_folder_without_one_is_told_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"node\.toml:1: there is no such file; cpc node init makes one"):
        load(tmp_path)
    (tmp_path / "node.toml").write_bytes(b"[node]\nname = '\xff'\n")
    with pytest.raises(ConfigError, match=r"node\.toml:2: a byte is not UTF-8"):
        load(tmp_path)


@given(st.text(max_size=200))
def test_any_text_is_settings_or_a_declared_error(text: str) -> None:
    try:
        assert isinstance(parse(text, PATH), Settings)
    except ConfigError as error:
        assert error.problems[0].line >= 1  # noqa: PT017 - both are right
