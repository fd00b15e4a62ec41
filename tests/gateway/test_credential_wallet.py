"""A holder's credentials: each is shown once, whatever fails, and what is shown first is what ends first."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import credential_wallet
from gateway.credential_exchange import Question
from gateway.credential_wallet import (
    AAD,
    ANY,
    ASKED,
    KEPT_MS,
    UNUSED,
    USED,
    CredentialWallet,
    CredentialWalletDamaged,
    ForeignCredential,
    NoCredential,
    TooManyCredentials,
    opened,
)
from gateway.disk import Disk, DiskFull
from gateway.errors import GatewayBusy
from puf import cbor, sd_cwt
from puf.did import did_cpc, did_key
from puf.ed25519 import SigningKey
from puf.errors import SignatureError
from puf.hkdf import hkdf

KEY, ISSUER = SigningKey(b"w" * 32), SigningKey(b"i" * 32)
NAME, SITE, OTHER = did_cpc(b"i" * 32), did_cpc(b"a" * 32), did_cpc(b"b" * 32)
NOW_MS = 1_725_244_237_000
DAY_MS = 86_400_000
QUESTION = Question(SITE, b"n" * 16, NOW_MS, 120_000, (NAME,), "vehicle/1", ())
SALTS = random.Random(3)


class Failing(Disk):
    """A disk that is full when it is told so."""

    is_full = False

    def write_file_atomic(self, path: object, data: bytes, mode: int = 0o600) -> None:
        if self.is_full:
            raise DiskFull(str(path), 28)
        super().write_file_atomic(path, data, mode)  # type: ignore[arg-type]


def issue(keys: Sequence[bytes], days: int = 7, issuer: SigningKey = ISSUER, name: str = NAME) -> list[bytes]:
    return [
        sd_cwt.issue(
            {1: name, 4: NOW_MS // 1000 + 86_400 * days, "schema": "vehicle/1"},
            {"plug": "CCS2"},
            key,
            issuer,
            [SALTS.randbytes(16)],
        )
        for key in keys
    ]


def supply(wallet: CredentialWallet, count: int, site: str = ANY, days: int = 7) -> None:
    keys = wallet.reserve(site, NAME, count, NOW_MS)
    assert wallet.keep(issue([key.public for key in keys], days), NOW_MS) == count


def holder_of(presentation: bytes) -> bytes:
    return bytes(sd_cwt.verify_presentation(presentation, [ISSUER.public], SITE, b"n" * 16, NOW_MS).holder)


def test_what_was_asked_for_comes_is_used_and_stays_used(tmp_path: Path) -> None:
    path = tmp_path / "car.wallet"
    with opened(path, KEY) as wallet:
        keys = wallet.reserve(SITE, NAME, 2, NOW_MS)
        assert [entry.state for entry in wallet.entries] == [ASKED, ASKED]
    with opened(path, KEY) as wallet:
        assert wallet.keep(issue([key.public for key in keys]), NOW_MS) == 2
        assert wallet.unused_count(QUESTION, NOW_MS) == 2
    shown = set()
    for left in (1, 0):
        with opened(path, KEY) as wallet:
            data, _ = wallet.present(QUESTION, ["plug"], NOW_MS)
            shown.add(holder_of(data))
            assert wallet.unused_count(QUESTION, NOW_MS) == left
    assert shown == {key.public for key in keys}
    with opened(path, KEY) as wallet:
        assert {(entry.state, entry.credential, entry.audience) for entry in wallet.entries} == {
            (USED, b"", SITE)
        }
        with pytest.raises(
            NoCredential, match=r"\(2 used\); get more: cpc credential request .*car\.wallet "
        ):
            wallet.present(QUESTION, [], NOW_MS)
        # The same answer of the issuer again makes none of them new.
        assert wallet.keep(issue([key.public for key in keys]), NOW_MS) == 0
        assert wallet.unused_count(QUESTION, NOW_MS) == 0


def test_one_for_this_site_goes_first_then_what_ends_first(tmp_path: Path) -> None:
    with opened(tmp_path / "w", KEY) as wallet:
        supply(wallet, 1, ANY, days=1)
        supply(wallet, 1, OTHER, days=1)
        supply(wallet, 1, SITE, days=9)
        supply(wallet, 1, SITE, days=3)
        supply(wallet, 1, ANY, days=5)
        order = [wallet.present(QUESTION, [], NOW_MS)[1] for _ in range(4)]
        assert [(entry.site, (entry.ends_ms() - NOW_MS) // DAY_MS) for entry in order] == [
            *((SITE, 3), (SITE, 9), (ANY, 1), (ANY, 5)),
        ]
        with pytest.raises(NoCredential):
            wallet.present(QUESTION, [], NOW_MS)


def test_what_has_ended_is_of_another_kind_or_issuer_is_not_shown(tmp_path: Path) -> None:
    with opened(tmp_path / "w", KEY) as wallet:
        supply(wallet, 1, days=1)
        for changed in (
            dataclasses.replace(QUESTION, schema="driver/1"),
            dataclasses.replace(QUESTION, issuers=(OTHER,)),
        ):
            with pytest.raises(NoCredential):
                wallet.present(changed, [], NOW_MS)
        with pytest.raises(NoCredential, match=r"\(1 ended\)"):
            wallet.present(QUESTION, [], NOW_MS + DAY_MS)
        with pytest.raises(ValueError, match="no redacted claim 'colour'"):
            wallet.present(QUESTION, ["colour"], NOW_MS)
        assert wallet.unused_count(QUESTION, NOW_MS) == 1


def test_a_batch_with_one_foreign_credential_is_not_taken_in_at_all(tmp_path: Path) -> None:
    with opened(tmp_path / "w", KEY) as wallet:
        first, second = (key.public for key in wallet.reserve(ANY, NAME, 2, NOW_MS))
        other = SigningKey(b"o" * 32).public
        good = issue([first])
        with pytest.raises(ForeignCredential, match="did not ask for"):
            wallet.keep([*good, *issue([other])], NOW_MS)
        with pytest.raises(ForeignCredential, match="not by"):
            wallet.keep([*good, *issue([second], name=OTHER)], NOW_MS)
        with pytest.raises(SignatureError):
            wallet.keep([*good, issue([second])[0][:-1] + b"\0"], NOW_MS)
        assert [entry.state for entry in wallet.entries] == [ASKED, ASKED]
        assert wallet.keep(good, NOW_MS) == 1


def test_nothing_is_shown_that_could_not_be_marked_as_used(tmp_path: Path) -> None:
    disk = Failing()
    path = tmp_path / "w"
    with opened(path, KEY, disk) as wallet:
        supply(wallet, 1)
        disk.is_full = True
        with pytest.raises(DiskFull):
            wallet.present(QUESTION, [], NOW_MS)
    with opened(path, KEY) as wallet:
        assert wallet.unused_count(QUESTION, NOW_MS) == 1


def test_a_file_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w"
    with opened(path, KEY) as wallet:
        supply(wallet, 2)
        asked = wallet.reserve(ANY, NAME, 40, NOW_MS)
    size = (tmp_path / "w.credentials").stat().st_size
    monkeypatch.setattr(credential_wallet, "SIZE_MAX", size + 4_000)
    with opened(path, KEY) as wallet, pytest.raises(TooManyCredentials, match="ask for fewer"):
        wallet.keep(issue([key.public for key in asked]), NOW_MS)
    with opened(path, KEY) as wallet, pytest.raises(TooManyCredentials):
        wallet.reserve(ANY, NAME, 100, NOW_MS)
    # What was there can still be used, and a smaller answer taken in.
    with opened(path, KEY) as wallet:
        assert wallet.keep(issue([asked[0].public]), NOW_MS) == 1
        assert "CCS2" not in repr(wallet.entries), "claims are shown by nothing but a presentation"
        assert wallet.unused_count(QUESTION, NOW_MS) == 3
        assert wallet.present(QUESTION, [], NOW_MS)


STEPS = st.lists(
    st.sampled_from(["ask", "keep", "show", "show", "show", "open", "full", "lost file"]), max_size=25
)


@given(STEPS)
@settings(deadline=None, max_examples=60)
def test_no_key_is_ever_shown_twice(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    path = tmp_path_factory.mktemp("wallet") / "w"
    disk = Failing()
    asked: list[bytes] = []
    shown: list[bytes] = []
    for step in steps:
        with opened(path, KEY, disk) as wallet:
            try:
                if step == "ask":
                    asked += [key.public for key in wallet.reserve(ANY, NAME, 2, NOW_MS)]
                elif step == "keep" and asked:
                    known = {entry.public for entry in wallet.entries}
                    wallet.keep(issue([key for key in asked if key in known]), NOW_MS)
                elif step == "show":
                    shown.append(holder_of(wallet.present(QUESTION, [], NOW_MS)[0]))
            except (DiskFull, NoCredential):
                pass
        if step == "full":
            disk.is_full = not disk.is_full
        elif step == "lost file":
            path.with_name("w.credentials").unlink(missing_ok=True)
    assert len(set(asked)) == len(asked)
    assert len(set(shown)) == len(shown)


def test_it_is_remembered_for_a_while_and_then_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "w", KEY) as wallet:
        supply(wallet, 2, days=1)
        wallet.present(QUESTION, [], NOW_MS)
        wallet.reserve(ANY, NAME, 1, NOW_MS + KEPT_MS - 1)
        assert sorted(entry.state for entry in wallet.entries) == [ASKED, UNUSED, USED]
        wallet.reserve(ANY, NAME, 1, NOW_MS + KEPT_MS)
        assert sorted(entry.state for entry in wallet.entries) == [ASKED, ASKED, UNUSED]
        wallet.reserve(ANY, NAME, 1, NOW_MS + DAY_MS + KEPT_MS)
        assert [entry.state for entry in wallet.entries] == [ASKED, ASKED, ASKED]


def reversions(whole: bytes) -> list[bytes]:
    """The same content under other versions, one of which equals ours."""
    parts = cbor.decode(whole)
    assert isinstance(parts, list)
    aead, nonce = ChaCha20Poly1305(hkdf(KEY.seed, b"", AAD, 32)), bytes(12)
    later = cbor.encode([1, nonce, aead.encrypt(nonce, cbor.encode([2, []]), AAD)])
    return [later, *(cbor.encode([version, *parts[1:]]) for version in (0, 2, True))]


def test_only_its_own_wallet_opens_it_and_only_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with opened(path, KEY) as wallet:
        supply(wallet, 1)
        with pytest.raises(GatewayBusy, match="another command uses"), opened(path, KEY):
            pass
    with pytest.raises(CredentialWalletDamaged), opened(path, SigningKey(b"x" * 32)):
        pass
    file = path.with_name("w.credentials")
    whole = file.read_bytes()
    assert b"vehicle" not in whole
    for damaged in (
        b"",
        whole[:-1],
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        cbor.encode([1, 2, 3]),
        b"\x01",
        *reversions(whole),
    ):
        file.write_bytes(damaged)
        with pytest.raises(CredentialWalletDamaged, match="move it away"), opened(path, KEY):
            pass


def test_each_site_knows_another_name(tmp_path: Path) -> None:
    with opened(tmp_path / "w", KEY) as wallet:
        names = {wallet.name_for(site) for site in (SITE, OTHER)}
        assert len(names) == 2
        assert wallet.name_for(SITE) in names
        # The name is no key that a credential is bound to.
        supply(wallet, 3, SITE)
        assert not names & {did_key(entry.public) for entry in wallet.entries}
