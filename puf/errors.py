"""What can be wrong with a key, a signature, a proof or the bytes that carry them.

Runs on CPython and MicroPython.  All of these mean that *what we were given* is wrong, never that
the caller is: a caller's own mistake (a negative length, a type that has no encoding) is a
ValueError or a TypeError.

    PufError
      +- DecodeError     bytes that are not the one right encoding of anything we accept
      +- KeyFormatError  a key, or the text of one, that no honest party can have made
      +- SignatureError  well-formed bytes whose signature does not hold
      +- ProofError      a hash-tree proof that does not lead to the root
      +- FastPathError   a peer that did not prove itself by the key of the last meeting
      +- CookieError     a peer that demands cookies without end
      +- GrantError      a grant, or a word on the time, that a device does not follow
      +- NotesError      what a device once wrote into its flash cannot be read back
      +- DecryptError    a ciphertext that was not sealed with this key, or was changed since
      +- EdhocError      a first meeting that has ended without a session
          +- EdhocRefused   because the peer said so
      +- CredentialError a token or a status list that is genuine, and yet does not count
      +- SourceError       memory that does not hold what power-up left in it
      +- EnrolmentError    readouts that no key may be built on
      |   +- RegionTaken   cells that a key has been built on already
      +- ReproductionError a key that did not come back; why is told to nobody
      +- AttemptsExceeded  too many of those, too fast
      +- ReadoutError      readouts from which nothing can be learnt about a chip
      |   +- TooFewCells   a response has fewer debiased bits than were asked for

No message ever carries a secret: keys in messages are public keys.
"""


class PufError(Exception):
    """The root of this tree; catch it to refuse whatever a peer may have sent."""


class DecodeError(PufError):
    """The bytes are not what they must be; whoever sent them is broken or hostile."""


class KeyFormatError(PufError):
    """A key has the wrong length, names no point, or names one of low order."""


class SignatureError(PufError):
    """The bytes are well formed, but this key did not sign them."""


class ProofError(PufError):
    """The proof does not lead from the leaf, or from the old root, to the root."""


class FastPathError(PufError):
    """The short handshake has ended without a session; nothing of it may be used.

    `reason`: str, one of those that puf/fast_path.py lists; `answer`: bytes to send before hanging up,
    empty where the peer is told nothing.
    """

    def __init__(self, reason: str, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.reason = reason
        self.answer = answer


class CookieError(PufError):
    """Every answer is another demand for a cookie: the peer is overloaded, or someone plays it."""


class GrantError(PufError):
    """A device does not do what this grant asks.  `reason`: int, one of those of puf/grant.py."""

    def __init__(self, reason: int, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class NotesError(PufError):
    """Notes in flash are damaged, absent, or another key's; what to do is in the message."""


class CredentialError(PufError):
    """The token is genuine, and yet does not count.

    `reason`: str: expired, early, time, audience, nonce, age, issuer, holder, withheld, schema, revoked,
    stale, list.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class SourceError(PufError):
    """The memory does not hold a power-up pattern now; cut the power of the device and start it again."""


class EnrolmentError(PufError):
    """These readouts give no key that is both strong and safe to come back; the text says what is wrong."""


class RegionTaken(EnrolmentError):
    """A second key from the same cells would give away the first; take other cells, or revoke for good."""


class ReproductionError(PufError):
    """The root did not come back.

    Noise, another chip and manipulated helper data all look like this: whoever tries helper data out on a
    device must not learn which it was.
    """

    def __init__(self) -> None:
        super().__init__("refused; cut the power of the device and start it again, or enrol it anew")


class AttemptsExceeded(PufError):
    """Too many reproductions failed.  `wait_ms`: int, until the next is allowed; None: enrol anew."""

    def __init__(self, wait_ms: "int | None") -> None:
        self.wait_ms = wait_ms
        what = "enrol the device anew" if wait_ms is None else f"wait {wait_ms} ms"
        super().__init__(f"too many failed attempts to reproduce the key; {what}")


class ReadoutError(PufError):
    """Readouts that teach nothing about a chip: none, one, empty ones, or of different sizes."""


class TooFewCells(ReadoutError):
    """A response has fewer debiased bits than were asked for.  `bits`, `wanted`: how many."""

    def __init__(self, bits: int, wanted: int) -> None:
        super().__init__(f"{bits} bits are left after debiasing, and {wanted} are needed; take more cells")
        self.bits = bits
        self.wanted = wanted


class DecryptError(PufError):
    """The tag of a ciphertext does not hold; nothing of the plaintext may be used, and none is given."""


class EdhocError(PufError):
    """A handshake has ended without a session, or a message came that it no longer takes.

    `answer`: bytes, the error message to send to the peer before hanging up; empty where it is told nothing.
    """

    def __init__(self, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.answer = answer


class EdhocRefused(EdhocError):
    """The peer ended the handshake, or somebody in between did: an error message proves nothing.

    `code`: int, the ERR_CODE of RFC 9528, section 6; `suites`: the suites that the peer has, tuple of int,
    when `code` is 2, else empty.
    """

    def __init__(self, text: str, code: int, suites: tuple[int, ...] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.suites = suites
