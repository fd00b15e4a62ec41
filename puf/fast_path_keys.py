"""The fast path's keys: what two parties keep between meetings, and what one meeting leaves them.

Runs on CPython and MicroPython.  A pairing holds one 32-byte key, and everything comes from it by label:

    key of epoch e --+-- name    8 bytes, how the initiator is found; another one each epoch
                     +-- mac     proves both sides (puf/fast_path.py)
                     +-- session with the hash of the transcript: channel keys and exporter
                     +-- next    the key of epoch e + 1; from it nobody comes back to this one

The initiator steps to e + 1 when the responder has proved itself, the responder when the initiator has.
So the responder is never ahead, and at most one behind; it answers to the names of both its epochs.
Source: the idea of RFC 9528, section 4.4 (key update), here by HKDF-Expand (RFC 5869) through puf/keys.py.
"""

from puf import cbor
from puf.errors import DecodeError, NotesError
from puf.keys import ROOT_BYTES, derive

NAME_BYTES = 8
"""Length of the name by which a responder finds a pairing: a stranger hits one in 2^64 / pairings tries."""
IDENTITY_BYTES_MAX = 64
"""The longest identity: a key, a hash, or the text of a DID."""
EPOCH_MAX = (1 << 32) - 1
"""After so many meetings the full handshake is due."""
VERSION = 1


class Pairing:
    """What one party keeps of another between two meetings.  Printing it shows no key.

    `initiator`, `responder`: bytes, 1 to 64, who they are to each other; `epoch`: int, meetings so far;
    `key`: bytes, 32, secret; `name`: bytes, 8, what the initiator calls this pairing in clear.
    """

    __slots__ = ("_following", "_name", "epoch", "initiator", "key", "responder")

    def __init__(self, initiator: bytes, responder: bytes, key: bytes, epoch: int = 0) -> None:
        if not 1 <= len(initiator) <= IDENTITY_BYTES_MAX or not 1 <= len(responder) <= IDENTITY_BYTES_MAX:
            raise ValueError(f"an identity has 1 to {IDENTITY_BYTES_MAX} bytes")
        if initiator == responder:
            raise ValueError("initiator and responder are two; one party cannot be paired with itself")
        if len(key) != ROOT_BYTES:
            raise ValueError(f"the key of a pairing has {ROOT_BYTES} bytes, not {len(key)}")
        if not 0 <= epoch <= EPOCH_MAX:
            raise ValueError("this pairing has been used up; meet by the full handshake again")
        self.initiator = initiator
        self.responder = responder
        self.epoch = epoch
        self.key = key
        self._name = b""
        self._following: Pairing | None = None

    @property
    def name(self) -> bytes:
        """Bytes, 8: looks random, and says nothing of the names before and after it."""
        if not self._name:
            self._name = derive(self.key, "fast path name", b"", NAME_BYTES)
        return self._name

    def following(self) -> "Pairing":
        """The pairing of the next epoch.  Raises ValueError after the last epoch."""
        if self._following is None:
            self._following = Pairing(
                self.initiator, self.responder, derive(self.key, "fast path next"), self.epoch + 1
            )
        return self._following

    def encode(self) -> bytes:
        """For the party's own storage; it holds the key, so seal it (puf/fast_path_store.py)."""
        return cbor.encode([VERSION, self.initiator, self.responder, self.epoch, self.key])

    @classmethod
    def decode(cls, data: bytes) -> "Pairing":
        """The pairing that `encode` wrote.  Raises NotesError for anything else."""
        try:
            parts = cbor.decode(data, 256, 1)
            if not isinstance(parts, list) or len(parts) != 5 or not cbor.is_int(parts[0], VERSION, VERSION):
                raise DecodeError("not five parts of version 1")
            _, initiator, responder, epoch, key = parts
            if not (isinstance(initiator, bytes) and isinstance(responder, bytes) and isinstance(key, bytes)):
                raise DecodeError("an identity or the key is no byte string")
            if not cbor.is_int(epoch):
                raise DecodeError("the epoch is no integer")
            return cls(initiator, responder, key, epoch)
        except (DecodeError, ValueError) as error:
            raise NotesError(f"a stored pairing: {error}; drop it and meet by the full handshake") from None

    def __repr__(self) -> str:
        return f"Pairing({self.initiator.hex()}, {self.responder.hex()}, epoch={self.epoch})"


class Pairings:
    """A responder's pairings, each under its present and its next name.

    At most `count_max`; one more pushes out the one used longest ago, whose initiator then meets by the
    full handshake again.  Nothing is stored here: put back with `add` what was stored.
    """

    def __init__(self, count_max: int) -> None:
        if count_max < 1:
            raise ValueError("a responder has room for one pairing at least")
        self._count_max = count_max
        self._by_name: dict[bytes, Pairing] = {}
        self._by_initiator: dict[bytes, Pairing] = {}
        self._order: dict[bytes, int] = {}
        self._clock = 0

    def __len__(self) -> int:
        return len(self._by_initiator)

    def add(self, pairing: Pairing) -> "Pairing | None":
        """Takes a pairing, in place of the same initiator's.  Returns the one pushed out, to be erased."""
        self.remove(pairing.initiator)
        pushed_out = None
        if len(self._by_initiator) >= self._count_max:
            oldest = min([(self._order[initiator], initiator) for initiator in self._order])[1]
            pushed_out = self._by_initiator[oldest]
            self.remove(oldest)
        self._by_initiator[pairing.initiator] = pairing
        self._by_name[pairing.name] = pairing
        if pairing.epoch < EPOCH_MAX:
            self._by_name[pairing.following().name] = pairing.following()
        self._clock += 1
        self._order[pairing.initiator] = self._clock
        return pushed_out

    def remove(self, initiator: bytes) -> None:
        """Forgets what is kept with `initiator`, if anything: its next visit needs the full handshake."""
        pairing = self._by_initiator.pop(initiator, None)
        if pairing is not None:
            del self._order[initiator]
            self._by_name.pop(pairing.name, None)
            if pairing.epoch < EPOCH_MAX:
                self._by_name.pop(pairing.following().name, None)

    def find(self, name: bytes) -> "Pairing | None":
        """The pairing of this name, in its present or its next epoch."""
        return self._by_name.get(name)

    def current(self, initiator: bytes) -> "Pairing | None":
        """The pairing with `initiator` in its present epoch."""
        return self._by_initiator.get(initiator)


class Session:
    """What a meeting leaves to both: keys that nobody else has, and that no later key gives back.

    `initiator`, `responder`: bytes, who they proved to be; `epoch`: int; `transcript`: bytes, 32, the hash of
    what was said, no secret; `send_key`, `receive_key`: bytes, 16, for AES-CCM, one for each direction.
    """

    __slots__ = ("_secret", "epoch", "initiator", "receive_key", "responder", "send_key", "transcript")

    def __init__(self, pairing: Pairing, transcript: bytes, is_initiator: bool) -> None:
        self.initiator = pairing.initiator
        self.responder = pairing.responder
        self.epoch = pairing.epoch
        self.transcript = transcript
        secret = derive(pairing.key, "fast path session", transcript, 64)
        self._secret = secret[32:]
        forth, back = secret[:16], secret[16:32]
        self.send_key, self.receive_key = (forth, back) if is_initiator else (back, forth)

    def export(self, label: str, context: bytes = b"", size: int = 32) -> bytes:
        """`size` bytes that both parties get for `label` and `context`, and nobody else."""
        return derive(self._secret, label, context, size)

    def __repr__(self) -> str:
        return f"Session({self.initiator.hex()}, {self.responder.hex()}, epoch={self.epoch})"
