"""Key files: made once, readable by their owner alone, damage named."""

import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.crypto import key_file
from gateway.crypto.errors import (
    KeyFileDamaged,
    KeyFileError,
    KeyFileExists,
    KeyFileExposed,
    KeyFileMissing,
    SizeRefused,
)
from gateway.crypto.key_file import (
    GatewayKey,
    create_gateway_key,
    create_reader_key,
    load_gateway_key,
    load_reader_key,
    parse_reader_public,
    reader_public_text,
)
from puf.did import ED25519, X25519, did_key, parse_did_key

SEED = bytes(range(32))
GATEWAY_LINE = f"cpc-gateway-key-1:{SEED.hex()}:95caea3a\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.key"


def write(path: Path, text: str | bytes, mode: int = 0o600) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)


def test_the_golden_key_file_stays_as_it_is(path: Path) -> None:
    write(path, GATEWAY_LINE)
    key = load_gateway_key(path)
    assert key.identity.public.hex() == "dfc06cd5f9fb12f7e82c6e18dd5be00f7971f9e27e62a7bcee8d268d11911d68"
    assert key.data_root.hex() == "1b8559632feda29c07a5d02ead29a316afa3ec304e9d7cc958110605a82fdc76"
    assert key.spool_key.hex() == "377e5ddded5ed24383d6063c7d26921d923956e1d168c4d7f7a236309834b9da"


def test_the_golden_reader_key_stays_as_it_is(path: Path) -> None:
    head = f"cpc-reader-key-1:{SEED.hex()}"
    write(path, f"{head}:{hashlib.sha256(head.encode()).hexdigest()[:8]}\n")
    key = load_reader_key(path)
    prk = hmac.digest(bytes(32), SEED, "sha256")
    assert key.seed == hmac.digest(prk, b"cpc/reader-key/1/x25519\x01", "sha256")
    assert reader_public_text(key.public) == "did:key:z6LShEewsxQyixu6WpmqjKPW7EeGRgh15vyuo9xq6U4szbGE\n"


def test_every_key_is_derived_by_its_label() -> None:
    key = GatewayKey(SEED)
    prk = hmac.digest(bytes(32), SEED, "sha256")
    labels = (b"identity", b"data-root", b"spool")
    want = [hmac.digest(prk, b"cpc/gateway-key/1/" + label + b"\x01", "sha256") for label in labels]
    assert [key.identity.seed, key.data_root, key.spool_key] == want


def test_a_created_gateway_key_loads_as_the_same(path: Path) -> None:
    created, loaded = create_gateway_key(path), load_gateway_key(path)
    assert loaded.identity.seed == created.identity.seed
    assert loaded.data_root == created.data_root
    assert loaded.spool_key == created.spool_key
    assert create_gateway_key(path.with_name("another")).data_root != created.data_root


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read_a_key_file(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create_gateway_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(path: Path) -> None:
    create_gateway_key(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileExists) as caught:
        create_gateway_key(path)
    assert caught.value.path == str(path)
    with pytest.raises(KeyFileExists):
        create_reader_key(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_file_and_directory_are_synced_before_the_name_is_promised(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story: list[str] = []
    fsync, link = os.fsync, os.link

    def recorded_fsync(descriptor: int) -> None:
        story.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def recorded_link(old: Path, new: Path) -> None:
        story.append("link")
        link(old, new)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "link", recorded_link)
    create_gateway_key(path)
    assert story == ["file", "link", "directory"]


def test_a_disk_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        create_gateway_key(path)
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        create_gateway_key(tmp_path / "nowhere" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_file_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    create_gateway_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileExposed, match=f"chmod 600 {path}"):
        load_gateway_key(path)


def test_a_missing_key_file_is_named(path: Path) -> None:
    with pytest.raises(KeyFileMissing, match=str(path)):
        load_gateway_key(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyFileDamaged, match="not a file"):
        load_gateway_key(tmp_path / "fifo")
    with pytest.raises(KeyFileError):
        load_gateway_key(tmp_path)


BAD: dict[str, str | bytes] = {
    "empty": "",
    "another text": "hello\n",
    "another version": GATEWAY_LINE.replace("key-1", "key-2"),
    "cut short": GATEWAY_LINE[:40],
    "without a checksum": GATEWAY_LINE.rpartition(":")[0],
    "in capitals": GATEWAY_LINE.upper(),
    "binary": b"\xff\xfe\x00" * 40,
    "long": "cpc-gateway-key-1:" + "0" * 10_000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_key_file_is_refused(path: Path, name: str) -> None:
    write(path, BAD[name])
    with pytest.raises(KeyFileDamaged):
        load_gateway_key(path)


@pytest.mark.parametrize("digits", ["", "00" * 31, "00" * 33, "zz" * 32, "AB" * 32, " " + "00" * 32])
def test_a_checksum_saves_no_seed_that_cannot_be(path: Path, digits: str) -> None:
    head = f"cpc-gateway-key-1:{digits}"
    write(path, f"{head}:{key_file.checksum(head)}\n")
    with pytest.raises(KeyFileDamaged, match="32 bytes"):
        load_gateway_key(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GATEWAY_LINE) - 2), st.integers(1, 255))
def test_a_changed_byte_is_noticed_and_never_quoted(path: Path, at: int, change: int) -> None:
    bad = bytearray(GATEWAY_LINE.encode())
    bad[at] ^= change
    write(path, bytes(bad))
    with pytest.raises(KeyFileDamaged) as caught:
        load_gateway_key(path)
    assert SEED.hex()[8:24] not in str(caught.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_a_key_file(path: Path, data: bytes) -> None:
    write(path, data)
    with pytest.raises(KeyFileDamaged):
        load_gateway_key(path)
    with pytest.raises(KeyFileDamaged):
        load_reader_key(path)


def test_the_key_of_the_other_kind_is_called_by_its_name(tmp_path: Path) -> None:
    create_gateway_key(tmp_path / "gateway")
    create_reader_key(tmp_path / "reader")
    with pytest.raises(KeyFileDamaged, match="is a reader's key, a gateway's is needed"):
        load_gateway_key(tmp_path / "reader")
    with pytest.raises(KeyFileDamaged, match="is a gateway's key, a reader's is needed"):
        load_reader_key(tmp_path / "gateway")


def test_a_reader_key_comes_with_its_public_name(tmp_path: Path) -> None:
    created = create_reader_key(tmp_path / "reader.key")
    assert load_reader_key(tmp_path / "reader.key").seed == created.seed
    public_file = tmp_path / "reader.key.pub"
    text = public_file.read_text()
    assert text == reader_public_text(created.public)
    assert parse_did_key(text.strip()) == (X25519, created.public)
    assert parse_reader_public(text) == created.public
    assert stat.S_IMODE(public_file.stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "reader.key").stat().st_mode) == 0o600


def test_a_public_name_that_is_there_stops_the_making_of_a_reader_key(tmp_path: Path) -> None:
    (tmp_path / "reader.key.pub").write_text("someone's")
    with pytest.raises(KeyFileExists, match=r"reader\.key\.pub"):
        create_reader_key(tmp_path / "reader.key")
    assert [file.name for file in tmp_path.iterdir()] == ["reader.key.pub"]


@settings(deadline=None)
@given(st.text(max_size=80))
def test_arbitrary_text_is_refused_as_a_public_name(text: str) -> None:
    with pytest.raises(KeyFileDamaged):
        parse_reader_public(text)


def test_a_signing_key_is_no_reader() -> None:
    with pytest.raises(KeyFileDamaged, match="signer"):
        parse_reader_public(did_key(GatewayKey(SEED).identity.public, ED25519))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(SizeRefused):
        GatewayKey(bytes(size))


def test_no_repr_shows_a_secret() -> None:
    key = GatewayKey(SEED)
    assert "did:key:z6Mk" in repr(key)
    for secret in (SEED, key.data_root, key.spool_key, key.identity.seed):
        assert secret.hex() not in repr(key)
        assert secret.hex() not in repr(key.identity)
