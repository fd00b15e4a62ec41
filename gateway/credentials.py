"""Credentials of vehicles: issued in batches of single-use ones, asked for with a nonce, checked once.

Runs on CPython.  The issuer (a gateway, a fleet) signs as many credentials as the vehicle will need; each is
bound to a key of its own, with salts and a place in the status list of its own, and times rounded so that
all of a day have the same: two of them share nothing but issuer, schema and status list.  The vehicle
derives the keys (puf/did_pairwise.py) and uses each once.  The verifier hands out nonces and forgets each
when it comes back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from puf import cwt, sd_cwt, status_list
from puf.did import did_key
from puf.ed25519 import SigningKey
from puf.errors import CredentialError
from puf.sd_cwt import Presented
from puf.status_list import StatusToken

DAY_MS = 86_400_000
BATCH_MAX = 256
NONCE_BYTES = 16
NONCES_MAX = 4_096
"""Nonces that may be out at once; the oldest goes when another is asked for."""
NONCE_MS = 120_000
"""How long an answer to a nonce is taken."""

Random = Callable[[int], bytes]
"""So many random bytes; os.urandom."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Credentials as they were issued, in the order of their holders."""

    credentials: tuple[bytes, ...]
    indices: tuple[int, ...]
    """Their entries in the status list: reserve them before the credentials are handed out."""


class Issuer:
    """Signs credentials.  name: its DID, as readers see it; uri: the address of its status list."""

    def __init__(self, key: SigningKey, name: str, uri: str, random: Random) -> None:
        self._key = key
        self._name = name
        self._uri = uri
        self._random = random

    def batch(
        self,
        holders: Sequence[bytes],
        schema: str,
        claims: dict[int | str, object],
        now_ms: int,
        days: int,
        taken: set[int],
    ) -> Batch:
        """One credential for each of these holder keys.

        claims: all of them redacted, for the holder to show or not; schema: what kind of credential it is,
        shown always; days: how long it counts, from the last midnight; taken: entries of the status list in
        use.
        Raises ValueError for no, too many or repeated holders.
        """
        if not 1 <= len(holders) <= BATCH_MAX or len(set(holders)) != len(holders):
            raise ValueError(f"a batch is for 1 to {BATCH_MAX} keys, each another one")
        begin_ms = now_ms // DAY_MS * DAY_MS
        in_use = set(taken)
        credentials, indices = [], []
        for holder in holders:
            index = status_list.free_index(self._random, in_use)
            in_use.add(index)
            shown: dict[int | str, object] = {
                cwt.ISS: self._name,
                cwt.SUB: did_key(holder),
                cwt.EXP: (begin_ms + days * DAY_MS) // 1000,
                cwt.IAT: begin_ms // 1000,
                cwt.STATUS: status_list.reference(index, self._uri),
                "schema": schema,
            }
            salts = [self._random(sd_cwt.SALT_BYTES) for _ in claims]
            credentials.append(sd_cwt.issue(shown, claims, holder, self._key, salts))
            indices.append(index)
        return Batch(tuple(credentials), tuple(indices))


class Verifier:
    """Asks for credentials and checks what comes.  name: its DID, which holders address.

    `lists` says whom it trusts.
    """

    def __init__(self, name: str, random: Random, grace_ms: int = 0) -> None:
        """grace_ms: how much longer than its time to live a status list counts; 0 refuses what is stale."""
        self.name = name
        self.lists: dict[bytes, StatusToken] = {}
        """The status list of each issuer that is trusted, by its key: checked by open_anchored."""
        self._random = random
        self._grace_ms = grace_ms
        self._asked: dict[bytes, int] = {}

    def ask(self, now_ms: int) -> bytes:
        """A nonce for a holder to sign.  It serves once."""
        if len(self._asked) >= NONCES_MAX:
            del self._asked[next(iter(self._asked))]
        nonce = self._random(NONCE_BYTES)
        self._asked[nonce] = now_ms
        return nonce

    def check(
        self, presentation: bytes, nonce: bytes, now_ms: int, required: Sequence[int | str] = ()
    ) -> Presented:
        """What may be believed.  The nonce is used up, whatever comes of it.

        Raises DecodeError, SignatureError, CredentialError, whose reason says what does not fit.
        """
        asked_ms = self._asked.pop(nonce, None)
        if asked_ms is None or not asked_ms <= now_ms < asked_ms + NONCE_MS:
            raise CredentialError("nonce", "nobody was asked with this nonce, or it was answered already")
        presented = sd_cwt.verify_presentation(
            presentation, list(self.lists), self.name, nonce, now_ms, list(required)
        )
        if cwt.STATUS not in presented.claims:
            raise CredentialError("list", "it names no status list, so nobody could revoke it")
        status_list.check_status(
            presented.claims[cwt.STATUS], self.lists[presented.issuer], now_ms, self._grace_ms
        )
        return presented
