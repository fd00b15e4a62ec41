"""A holder's credentials: which it has asked for, has, and has used, sealed beside its wallet.

Runs on CPython, on Linux.  The file WALLET.credentials, mode 0600:

    [1, nonce, sealed]      sealed: ChaCha20-Poly1305 under a key of the wallet's seed, of
    [1, [[site, index, key, state, issuer, credential, moment_ms, audience], ...]]

The holder's keys are derived from the wallet's seed by site and index (puf/did_pairwise.py), and are not
kept; indices are random, so none comes twice, also when this file was lost.  A credential for one site is
shown to that site alone; those of the site "any" to any one.  Before a presentation leaves, the credential is
marked as used, synced, and its bytes are dropped, so that it cannot be used twice, whatever happens then.
Only an old copy of the file, put back, could do that: copy the wallet, not this.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gateway.credential_exchange import Question
from gateway.disk import Disk, FileMissing
from gateway.errors import GatewayBusy, GatewayError
from puf import cbor, cwt, sd_cwt
from puf.did_pairwise import pairwise_did, pairwise_key
from puf.ed25519 import SigningKey
from puf.errors import DecodeError
from puf.hkdf import hkdf

VERSION = 1
SUFFIX = ".credentials"
SIZE_MAX = 16 << 20
NONCE_BYTES = 12
INDEX_BYTES = 6
AAD = b"cpc/credential-wallet/1"
ANY = "any"
"""The site of credentials that may be shown to any one."""
ASKED, UNUSED, USED = 0, 1, 2
EPOCH = 0
KEPT_MS = 90 * 86_400_000
"""How long it is remembered what was asked for in vain, was used, or has ended."""


class CredentialWalletDamaged(GatewayError):
    """The file does not open with this wallet's key."""


class NoCredential(GatewayError):
    """There is none left to show; the text says how to get more."""


class TooManyCredentials(GatewayError):
    """The file would be longer than what is read again; nothing was changed."""


class ForeignCredential(GatewayError):
    """A credential that this wallet did not ask for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the holder, and what became of it."""

    site: str
    """The DID of the site that it is for, or ANY."""
    index: int
    """Which of the keys for that site."""
    public: bytes
    """The Ed25519 key."""
    state: int
    """ASKED, UNUSED or USED."""
    issuer: str
    """The DID of whom the credential was asked for."""
    credential: bytes = field(repr=False)
    """The SD-CWT while it is unused, with all its disclosures."""
    moment_ms: int
    """When it was asked for, came, or was used, Unix milliseconds."""
    audience: str
    """The DID of the site that it was shown to."""

    def claims(self) -> dict[int | str, object]:
        """All claims of an unused one, redacted ones too."""
        opened = sd_cwt.open_credential(self.credential)
        disclosed: dict[int | str, object] = {
            claim: value for claim, (_, value) in opened.disclosures.items()
        }
        return dict(opened.claims) | disclosed

    def ends_ms(self) -> int:
        """When an unused one ends."""
        ends = sd_cwt.open_credential(self.credential).claims.get(cwt.EXP, cwt.SECONDS_MAX)
        assert isinstance(ends, int)  # noqa: S101 - `open_credential` has looked
        return 1000 * ends


class CredentialWallet:
    """The credentials of one holder.  Made by `opened`.  A method that returns has changed the file."""

    def __init__(self, path: Path, key: SigningKey, disk: Disk) -> None:
        self._path = path
        self._key = key
        self._disk = disk
        self._aead = ChaCha20Poly1305(hkdf(key.seed, b"", AAD, 32))
        self.entries: list[Entry] = []
        """The oldest first."""
        try:
            self._read(disk.read_file(path, SIZE_MAX))
        except FileMissing:
            pass
        except (DecodeError, InvalidTag):
            raise CredentialWalletDamaged(
                f"{path} does not open with this wallet: it is another wallet's, or damaged; move it away, "
                "and ask for new credentials"
            ) from None

    def name_for(self, site: str) -> str:
        """The did:key under which this site knows the holder, and no other site does."""
        return pairwise_did(self._key.seed, site, EPOCH)

    def reserve(self, site: str, issuer: str, count: int, now_ms: int) -> list[SigningKey]:
        """Keys that were never used, to ask for credentials with.  site: a DID, or ANY.

        Raises TooManyCredentials.
        """
        keys = []
        for _ in range(count):
            # 0 is the name itself.
            index = 1 + int.from_bytes(os.urandom(INDEX_BYTES), "big")
            keys.append(pairwise_key(self._key.seed, site, EPOCH, index))
            self.entries.append(Entry(site, index, keys[-1].public, ASKED, issuer, b"", now_ms, ""))
        self._write(now_ms)
        return keys

    def keep(self, credentials: Sequence[bytes], now_ms: int) -> int:
        """Takes in what an issuer has answered; how many of them are new.

        Raises DecodeError, SignatureError, ForeignCredential, TooManyCredentials; nothing is taken in then.
        """
        at = {entry.public: place for place, entry in enumerate(self.entries)}
        entries = list(self.entries)
        count = 0
        for data in credentials:
            opened = sd_cwt.open_credential(data)
            place = at.get(opened.holder)
            if place is None:
                raise ForeignCredential(
                    "a credential in this batch is for a key that this wallet did not ask for; "
                    "it is another holder's"
                )
            entry = entries[place]
            if opened.claims[cwt.ISS] != entry.issuer:
                raise ForeignCredential(
                    f"a credential in this batch is by {opened.claims[cwt.ISS]}, not by {entry.issuer}, "
                    "which was asked"
                )
            if entry.state == ASKED:
                entries[place] = replace(entry, state=UNUSED, credential=data, moment_ms=now_ms)
                count += 1
        self.entries = entries
        self._write(now_ms)
        return count

    def present(self, question: Question, claims: Sequence[str], now_ms: int) -> tuple[bytes, Entry]:
        """The answer to a question, with these claims shown; a credential is used up by it.

        Raises NoCredential; ValueError for a claim that the credential has not: nothing is used up then.
        """
        usable = [entry for entry in self.entries if self._answers(entry, question, now_ms)]
        if not usable:
            raise NoCredential(self._why_none(question, now_ms))
        # One for this site alone before one that serves anywhere; of those what ends first.
        best = min(usable, key=lambda entry: (entry.site == ANY, entry.ends_ms(), entry.index))
        key = pairwise_key(self._key.seed, best.site, EPOCH, best.index)
        data = sd_cwt.present(best.credential, tuple(claims), key, question.audience, question.nonce, now_ms)
        used = replace(best, state=USED, credential=b"", moment_ms=now_ms, audience=question.audience)
        self.entries = [used if entry is best else entry for entry in self.entries]
        self._write(now_ms)
        return data, best

    def unused_count(self, question: Question, now_ms: int) -> int:
        """How many there are that could answer such a question."""
        return sum(self._answers(entry, question, now_ms) for entry in self.entries)

    def _answers(self, entry: Entry, question: Question, now_ms: int) -> bool:
        return (
            entry.state == UNUSED
            and entry.site in (question.audience, ANY)
            and entry.issuer in question.issuers
            and entry.ends_ms() > now_ms
            and entry.claims().get("schema") == question.schema
        )

    def _why_none(self, question: Question, now_ms: int) -> str:
        fits = [entry for entry in self.entries if entry.site in (question.audience, ANY)]
        counts = {
            "used": sum(entry.state == USED for entry in fits),
            "ended": sum(entry.state == UNUSED and entry.ends_ms() <= now_ms for entry in fits),
            "asked for and not answered": sum(entry.state == ASKED for entry in fits),
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        wallet = str(self._path).removesuffix(SUFFIX)
        return (
            f"no credential of kind {question.schema!r} by {' or '.join(question.issuers)} is left for "
            f"{question.audience}{f' ({told})' if told else ''}; get more: cpc credential request {wallet} "
            f"--issuer {question.issuers[0]} --for {question.audience} --count 10 --out request.cbor, "
            "let the issuer answer it, then cpc credential keep"
        )

    def _read(self, data: bytes) -> None:
        parts = cbor.decode(data, SIZE_MAX, 2)
        if not isinstance(parts, list) or len(parts) != 3 or not cbor.is_int(parts[0], VERSION, VERSION):
            raise DecodeError("not credentials of version 1")
        nonce, sealed = parts[1], parts[2]
        if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES or not isinstance(sealed, bytes):
            raise DecodeError("nonce and ciphertext are byte strings")
        # Sealed by this wallet's key, so it is what `_write` wrote.
        content = cbor.decode(self._aead.decrypt(nonce, sealed, AAD), SIZE_MAX, 4)
        if not isinstance(content, list) or len(content) != 2 or content[0] != VERSION:
            raise DecodeError("credentials of another version")
        self.entries = [Entry(*fields) for fields in content[1]]

    def _write(self, now_ms: int) -> None:
        self.entries = [entry for entry in self.entries if self._is_kept(entry, now_ms)]
        entries = [
            [
                *(each.site, each.index, each.public, each.state, each.issuer, each.credential),
                *(each.moment_ms, each.audience),
            ]
            for each in self.entries
        ]
        content = cbor.encode([VERSION, entries])
        nonce = os.urandom(NONCE_BYTES)
        data = cbor.encode([VERSION, nonce, self._aead.encrypt(nonce, content, AAD)])
        if len(data) > SIZE_MAX:
            raise TooManyCredentials(
                f"{self._path} would have {len(data):,} bytes, and {SIZE_MAX:,} are the most; "
                "ask for fewer, or use another wallet"
            )
        self._disk.write_file_atomic(self._path, data, 0o600)

    def _is_kept(self, entry: Entry, now_ms: int) -> bool:
        since_ms = entry.ends_ms() if entry.state == UNUSED else entry.moment_ms
        return now_ms < since_ms + KEPT_MS


@contextmanager
def opened(wallet: Path, key: SigningKey, disk: Disk | None = None) -> Iterator[CredentialWallet]:
    """The credentials beside the wallet in this file, whose key this is; nobody else changes them meanwhile.

    Raises GatewayBusy, CredentialWalletDamaged, DiskError.
    """
    path = wallet.with_name(wallet.name + SUFFIX)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise GatewayBusy("another command uses the credentials of this wallet; wait for it") from error
        yield CredentialWallet(path, key, disk or Disk())
    finally:
        os.close(lock)
