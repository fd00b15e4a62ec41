"""An account's key under a passphrase: what opens it, what does not, and what a changed file says."""

import os
import stat
from pathlib import Path

import pytest

from gateway.crypto import wallet_file
from gateway.crypto.errors import (
    KeyFileDamaged,
    KeyFileError,
    KeyFileExists,
    KeyFileExposed,
    KeyFileMissing,
    WrongPassphrase,
)
from gateway.crypto.key_file import checksum, create_gateway_key
from puf import cbor
from puf.ed25519 import SigningKey

PHRASE = "correct horse battery"
SEED = bytes(range(32))


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that cost nothing to try."""
    monkeypatch.setattr(wallet_file, "PASSES", 1)
    monkeypatch.setattr(wallet_file, "MEMORY_KIB", 8)


def rewrite(path: Path, fields: object) -> None:
    head = f"cpc-wallet-1:{cbor.encode(fields).hex()}"
    path.write_text(f"{head}:{checksum(head)}\n")


def test_what_was_put_in_comes_out_with_the_passphrase_and_with_no_other(tmp_path: Path) -> None:
    path = tmp_path / "alice.wallet"
    made = wallet_file.create(path, PHRASE, SEED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = wallet_file.load(path)
    assert (loaded.public, loaded.fields) == (SigningKey(SEED).public, made.fields)
    assert loaded.unlock(PHRASE).public == SigningKey(SEED).public
    with pytest.raises(WrongPassphrase, match="does not open it; try another one"):
        loaded.unlock(PHRASE + " ")
    assert SEED.hex() not in path.read_text()
    assert SEED.hex() not in repr(loaded)


def test_the_file_has_the_form_that_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    made = wallet_file._seal(Path("x"), PHRASE, SEED, b"s" * 16, b"n" * 24)
    assert cbor.encode(made.fields).hex() == GOLDEN


GOLDEN = (
    "a60103021a0001000003507373737373737373737373737373737304582003a107bff3ce10be1d70dd18e74b"
    "c09967e4d6309ba50d5f1ddc8664125531b80558186e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e"
    "6e0658306a7dbe1b5c74ee7740d604f782748ae531a58e7529903d25d1d810a4e0e6c6ecb968f568d0747e2f"
    "1ec0f60d9376dde4"
)


def test_one_passphrase_typed_on_two_keyboards_is_one(tmp_path: Path) -> None:
    wallet = wallet_file.create(tmp_path / "w", "Stra\u00dfencaf\u00e9", SEED)
    assert wallet.unlock("Stra\u00dfencafe\u0301").public == wallet.public


def test_two_wallets_of_one_seed_have_nothing_in_common_but_the_account(tmp_path: Path) -> None:
    first = wallet_file.create(tmp_path / "a", PHRASE, SEED).fields
    second = wallet_file.create(tmp_path / "b", PHRASE, SEED).fields
    assert {number for number in first if first[number] == second[number]} == {1, 2, 4}
    assert wallet_file.create(tmp_path / "c", PHRASE).public != SigningKey(SEED).public


def test_it_is_never_overwritten_and_short_passphrases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    wallet_file.create(path, PHRASE, SEED)
    before = path.read_bytes()
    with pytest.raises(KeyFileExists):
        wallet_file.create(path, PHRASE)
    assert path.read_bytes() == before
    with pytest.raises(KeyFileError, match="at least 8 characters"):
        wallet_file.create(tmp_path / "x", "1234567")
    assert os.listdir(tmp_path) == ["w"]


def test_what_others_may_read_or_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with pytest.raises(KeyFileMissing):
        wallet_file.load(path)
    wallet_file.create(path, PHRASE, SEED)
    path.chmod(0o640)
    with pytest.raises(KeyFileExposed, match="chmod 600"):
        wallet_file.load(path)


def test_a_changed_file_is_no_wallet(tmp_path: Path) -> None:
    path = tmp_path / "w"
    fields = wallet_file.create(path, PHRASE, SEED).fields
    other = SigningKey(bytes(32)).public
    for number, value in ((4, other), (3, b"t" * 16), (1, 2), (6, bytes(48))):
        rewrite(path, fields | {number: value})
        with pytest.raises(WrongPassphrase):
            wallet_file.load(path).unlock(PHRASE)
    spoilt: object
    for spoilt in (
        fields | {7: 1},
        fields | {1: 17},
        fields | {1: True},
        fields | {2: (1 << 20) + 1},
        fields | {2: 7},
        fields | {6: bytes(47)},
        fields | {4: "a" * 32},
        {number: fields[number] for number in range(1, 6)},
        [],
    ):
        rewrite(path, spoilt)
        with pytest.raises(KeyFileDamaged, match="its fields are not those of a wallet"):
            wallet_file.load(path)
    text = path.read_text()
    path.write_text(text.replace(":", ":0", 1))
    with pytest.raises(KeyFileDamaged, match="its checksum does not fit"):
        wallet_file.load(path)
    path.unlink()
    create_gateway_key(path)
    with pytest.raises(KeyFileDamaged, match="is no wallet: it should start with `cpc-wallet-1:`"):
        wallet_file.load(path)
