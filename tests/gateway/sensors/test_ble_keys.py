"""Keys of sensors: who may read them, what they open, and what a replay looks like."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_bthome import decode_v1_encrypted, decode_v2
from gateway.sensors.ble_decode import Decoder
from gateway.sensors.ble_keys import Malformed, NoKey, NotAuthentic, Replayed, Vault, load_keys
from gateway.sensors.source import SourceUnavailable
from puf import cbor

ADDRESS = bytes.fromhex("5448e68f80a5")
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")


def sealed_v2(counter: int, body: bytes = b"\x02\xca\x09", key: bytes = KEY) -> Advertisement:
    """BTHome V2 as a device would send it."""
    tail = counter.to_bytes(4, "little")
    sealed = AESCCM(key, tag_length=4).encrypt(ADDRESS + b"\xd2\xfc\x41" + tail, body, None)
    data = b"\x41" + sealed[:-4] + tail + sealed[-4:]
    return Advertisement(ADDRESS, None, bytes((len(data) + 3, 0x16)) + b"\xd2\xfc" + data)


def values(vault: Vault, one: Advertisement) -> object:
    return decode_v2(one, one.service16[0][1], vault)["values"]


def test_a_counter_that_rises_or_repeats_is_taken() -> None:
    vault = Vault({ADDRESS: KEY})
    for counter in (5, 5, 6, 1000, 0xFFFFFFFF):
        assert values(vault, sealed_v2(counter)) == {"temperature_mdegc": 25_060}


def test_a_counter_that_falls_is_a_replay() -> None:
    vault = Vault({ADDRESS: KEY})
    values(vault, sealed_v2(900))
    with pytest.raises(Replayed, match="replayed: counter 899 after 900") as caught:
        values(vault, sealed_v2(899))
    assert (caught.value.counter, caught.value.newest) == (899, 900)
    assert values(vault, sealed_v2(901)) == {"temperature_mdegc": 25_060}


def test_a_forger_cannot_move_the_counter() -> None:
    vault = Vault({ADDRESS: KEY})
    with pytest.raises(NotAuthentic):
        values(vault, sealed_v2(10_000, key=bytes(16)))
    assert values(vault, sealed_v2(1)) == {"temperature_mdegc": 25_060}


def sealed_mibeacon(counter: int, body: bytes = bytes.fromhex("061002d301")) -> Advertisement:
    """MiBeacon V5 as a device would send it: the low byte of the counter stands apart."""
    head = bytes.fromhex("48585b05") + bytes((counter & 0xFF,))
    tail = (counter >> 8).to_bytes(3, "little")
    nonce = ADDRESS[::-1] + head[2:] + tail
    sealed = AESCCM(KEY, tag_length=4).encrypt(nonce, body, b"\x11")
    data = head + sealed[:-4] + tail + sealed[-4:]
    return Advertisement(ADDRESS, None, bytes((len(data) + 3, 0x16)) + b"\x95\xfe" + data)


def test_a_replayed_mibeacon_is_refused_too() -> None:
    decoder = Decoder(Vault({ADDRESS: KEY}))
    for counter in (0x1FF, 0x200, 0x200):
        assert decoder.reading(sealed_mibeacon(counter))["values"] == {"humidity_mpct": 46_700}
    reading = decoder.reading(sealed_mibeacon(0x1FF))
    assert reading["error"].startswith("replayed: counter 511 after 512")
    assert "values" not in reading


def sealed_v1(counter: int, body: bytes) -> Advertisement:
    """BTHome V1 as a device would send it."""
    tail = counter.to_bytes(4, "little")
    sealed = AESCCM(KEY, tag_length=4).encrypt(ADDRESS + b"\x1e\x18" + tail, body, b"\x11")
    data = sealed[:-4] + tail + sealed[-4:]
    return Advertisement(ADDRESS, None, bytes((len(data) + 3, 0x16)) + b"\x1e\x18" + data)


def test_a_replay_of_version_1_is_refused_too() -> None:
    decoder = Decoder(Vault({ADDRESS: KEY}))
    for counter in (8, 8, 9):
        assert decoder.reading(sealed_v1(counter, b"\x02\x01\x61"))["values"] == {"battery_pct": 97}
    assert decoder.reading(sealed_v1(8, b"\x02\x01\x61"))["error"].startswith("replayed: counter 8 after 9")


@given(st.binary(min_size=1, max_size=60), st.sampled_from([sealed_v1, sealed_v2, sealed_mibeacon]))
@settings(deadline=None, max_examples=500)
def test_what_an_authentic_device_says_may_be_anything(
    body: bytes, sealed: Callable[[int, bytes], Advertisement]
) -> None:
    reading = Decoder(Vault({ADDRESS: KEY})).reading(sealed(7, body))
    assert ("error" in reading) != ("values" in reading)
    assert "altered" not in reading.get("error", "")
    assert cbor.decode(cbor.encode(reading)) == reading


def test_the_published_vector_of_version_1_opens() -> None:
    data = bytes.fromhex("fba435e4d3c312fb0011223357d90a99")
    one = Advertisement(ADDRESS, None, bytes((len(data) + 3, 0x16)) + b"\x1e\x18" + data)
    decoded = decode_v1_encrypted(one, data, Vault({ADDRESS: KEY}))
    assert decoded["values"] == {"temperature_mdegc": 25_060, "humidity_mpct": 50_550}
    assert decoded["packet"] == 0x33221100


def test_what_cannot_be_opened_says_why() -> None:
    with pytest.raises(NoKey):
        Vault().open(ADDRESS, bytes(13), bytes(8))
    with pytest.raises(Malformed):
        Vault({ADDRESS: KEY}).open(ADDRESS, bytes(13), bytes(4))
    with pytest.raises(NotAuthentic):
        Vault({ADDRESS: bytes(12)}).open(ADDRESS, bytes(13), bytes(8))
    with pytest.raises(NotAuthentic):
        Vault({ADDRESS: KEY}).open_unauthenticated(ADDRESS, bytes(13), bytes(8))
    with pytest.raises(NoKey):
        Vault().open_unauthenticated(ADDRESS, bytes(13), bytes(8))


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# the garden\n54:48:E6:8F:80:A5 {KEY.hex()}  # tank\n\na4-c1-38-01-02-03 {'00' * 12}\n")
    path.chmod(0o600)
    vault = load_keys(str(path))
    assert ADDRESS in vault
    assert bytes.fromhex("a4c138010203") in vault
    assert repr(vault) == "Vault(2 keys)"
    assert values(vault, sealed_v2(1)) == {"temperature_mdegc": 25_060}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    path.write_text(f"54:48:E6:8F:80:A5 {KEY.hex()}\n")
    path.chmod(mode)
    with pytest.raises(SourceUnavailable, match="others may read the keys; run: chmod 600"):
        load_keys(str(path))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("54:48:E6:8F:80:A5", "a key has 16 bytes, or 12 for old devices, not 0"),
        (f"54:48:E6:8F:80 {'11' * 16}", "not an address and a key in hex"),
        (f"54:48:E6:8F:80:A5 {'11' * 15}", "not 15"),
        (f"54:48:E6:8F:80:A5 {'1x' * 16}", "not an address and a key in hex"),
        (
            f"54:48:E6:8F:80:A5 {'11' * 16}\n54:48:E6:8F:80:A5 {'22' * 16}",
            "a second key for 54:48:E6:8F:80:A5",
        ),
    ],
)
def test_a_bad_line_is_named_and_no_key_is_shown(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(SourceUnavailable, match=reason) as caught:
        load_keys(str(path))
    assert "line 2" in str(caught.value) or "line 3" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("1111", "2222", "1x1x"))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No such file"):
        load_keys(str(tmp_path / "none"))
    with pytest.raises(SourceUnavailable, match="this is no file"):
        load_keys(str(tmp_path))
