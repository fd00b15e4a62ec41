"""Addresses: what is one, what is none, and back to text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain_node.peer_address import Address, parse_address

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7600", Address("127.0.0.1", 7600)),
        ("node.example:1", Address("node.example", 1)),
        ("[::1]:65535", Address("::1", 65_535)),
        (f"{KEY.hex()}@[fe80::1]:7600", Address("fe80::1", 7_600, KEY)),
        (f"{KEY.hex()}@localhost:0", Address("localhost", 0, KEY)),
    ],
)
def test_an_address_is_read_and_written_the_same(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":7600",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "::1:7600",
        "key@host:1",
        f"{KEY.hex()[1:]}@h:1",
        "a b:1",
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@given(st.text(max_size=80))
def test_any_text_is_an_address_that_is_written_as_one_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address
