"""EDHOC: two parties who know each other's static keys prove it, and share keys nobody can rebuild later.

Runs on CPython and MicroPython.  Method 3, suite 0.  Bytes in, bytes out; randomness is passed in.

    vehicle, Initiator                                        device, Responder
    idle        start()    --------- message_1 --------->     awaits message_1
    awaits message_2       <-------- message_2 ----------
                           --------- message_3 --------->     awaits message_3
    awaits message_4       <------- (message_4) ---------     done
    done

Each state takes its message once.  Whatever goes wrong, the handshake has failed for good, and EdhocError
says what to answer.  An initiator without message_4 is done before the responder has shown that it took
message_3: only its first protected message shows that.

A responder does no curve work before `receive`, so whoever fears floods asks for a cookie before that, in a
layer of its own around message_1 (puf/cookie.py), and the bytes of EDHOC stay those of the RFC.
Source: RFC 9528, sections 2, 5 and 6; appendices D.3 and D.5.
"""

from puf import aes_ccm, cbor
from puf import edhoc_keys as keys
from puf import edhoc_messages as messages
from puf.edhoc_credential import Credential, Named, decode_named, encode_id, encode_named, id_cred
from puf.edhoc_messages import Ead, encode_error
from puf.errors import DecodeError, DecryptError, EdhocError, EdhocRefused, KeyFormatError
from puf.hkdf import is_equal

IDLE, AWAITS_1, AWAITS_2, AWAITS_3, AWAITS_4, DONE, FAILED = (
    "idle",
    "awaits message_1",
    "awaits message_2",
    "awaits message_3",
    "awaits message_4",
    "done",
    "failed",
)
START, MESSAGE_1, MESSAGE_2, MESSAGE_3, MESSAGE_4, WITHOUT_4 = (
    "start",
    "message_1",
    "message_2",
    "message_3",
    "message_4",
    "without message_4",
)
INITIATOR_NEXT = {
    (IDLE, START): AWAITS_2,
    (AWAITS_2, MESSAGE_2): AWAITS_4,
    (AWAITS_4, MESSAGE_4): DONE,
    # Where both agreed beforehand that there is none, it follows message_2 at once.
    (AWAITS_4, WITHOUT_4): DONE,
}
RESPONDER_NEXT = {
    (AWAITS_1, MESSAGE_1): AWAITS_3,
    (AWAITS_3, MESSAGE_3): DONE,
}
"""Every transition there is, but for this one: from any state but done, an error leads to failed."""
TAKES = {AWAITS_1: MESSAGE_1, AWAITS_2: MESSAGE_2, AWAITS_3: MESSAGE_3, AWAITS_4: MESSAGE_4}

CANDIDATES_MAX = 4
"""Credentials with one key id that are tried; each costs a product on the curve."""


class Identity:
    """Who we are: our credential, and how its private key is had.

    `private`: bytes, 32, or a callable that returns them when they are needed (a PUF's), and which may raise.
    `by_value`: the credential travels itself, not its key id.  Printing it shows no private key.
    """

    __slots__ = ("_private", "credential", "named")

    def __init__(self, credential: Credential, private: object, by_value: bool = False) -> None:
        if credential.kid is None and not by_value:
            raise ValueError("a credential without a key id can only travel by value")
        self.credential = credential
        self.named = Named(None, credential.ccs) if by_value else Named(credential.kid, None)
        self._private = private

    def private(self) -> bytes:
        """The 32-byte private key, secret."""
        private = self._private() if callable(self._private) else self._private
        if not isinstance(private, bytes) or len(private) != 32:
            raise ValueError("a private key is 32 bytes")
        return private

    def __repr__(self) -> str:
        return f"Identity(kid={self.credential.kid!r}, public={self.credential.public.hex()})"


def known(*credentials: Credential) -> "object":
    """Knows these credentials and no other, by key id as by value: for `peers` of an endpoint."""

    def find(named: Named) -> "tuple[Credential, ...]":
        return tuple([one for one in credentials if named.ccs == one.ccs or named.kid == one.kid is not None])

    return find


def select(suites: "tuple[keys.Suite, ...]", offered: "tuple[int, ...]") -> "int | None":
    """Which of our suites, in our order, to start anew with, after a peer has refused and offered its own.

    None when there is none in common.  Source: RFC 9528, section 6.3.
    """
    for index, suite in enumerate(suites):
        if suite.number in offered:
            return index
    return None


class Endpoint:
    """What both roles have: `state`; `session` once done; `received`, the EAD of each message by its number.

    `identity`: who we are.  `peers`: a callable that is given a Named and returns the credentials that are
    trusted under that name, a tuple, empty for a stranger (see `known`).  `connection_id`: bytes, what
    messages to us shall carry, one byte where that is enough.  `ephemeral`: bytes, 32, random, never used
    before.
    `suites`: what we have, in our order.  `ead`: by number of message, a tuple of Ead to send along.
    `ead_labels`: labels that the caller understands; a critical item with another one ends the handshake.
    `has_message_4`: whether both agreed on it.
    """

    _first = ""
    _next: "dict[tuple[str, str], str]" = {}  # noqa: RUF012  MicroPython has no ClassVar

    def __init__(
        self,
        identity: Identity,
        peers: object,
        connection_id: bytes,
        ephemeral: bytes,
        suites: "tuple[keys.Suite, ...]" = (keys.SUITE_0,),
        ead: "dict[int, tuple[Ead, ...]] | None" = None,
        ead_labels: "tuple[int, ...]" = (),
        has_message_4: bool = False,
    ) -> None:
        if len(ephemeral) != 32:
            raise ValueError(f"an ephemeral key is 32 random bytes, not {len(ephemeral)}")
        self.identity = identity
        self.state = self._first
        self.session: keys.Session | None = None
        self.received: dict[int, tuple[Ead, ...]] = {}
        self._peers = peers
        self._own_id = connection_id
        self._ephemeral = ephemeral
        self._suites = suites
        self._suite = suites[0]
        self._ead = ead or {}
        self._ead_labels = ead_labels
        self._has_message_4 = has_message_4
        self._peer: Credential | None = None
        self._peer_id = self._th_2 = self._th_3 = self._th_4 = b""
        self._prk_2e = self._prk_3e2m = self._prk_4e3m = b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.state}, {self.identity!r})"

    def receive(self, data: bytes) -> bytes:
        """Takes the message that is due; returns the one to send, empty when there is none.

        Raises EdhocError, with the error message to answer, for everything else: the handshake is then over,
        except that one which is done stays done.  EdhocRefused is the peer's own error message.
        What `private` or `peers` raise passes through, and ends the handshake as well.
        """
        event = TAKES.get(self.state)
        if event is None:
            raise EdhocError(f"no message is taken here: the handshake is {self.state}")
        # Whatever raises, and wherever: nothing goes on from here.
        before, self.state = self.state, FAILED
        refusal = messages.decode_error(data)
        if refusal is not None:
            code, suites = refusal
            self._forget()
            raise EdhocRefused(f"the peer ended the handshake with error {code}", code, suites)
        try:
            answer = self._process(event, bytes(data))
        except (DecodeError, KeyFormatError, DecryptError) as error:
            self._forget()
            # The peer is told at which message, not why.
            answer = encode_error(messages.UNSPECIFIED, event)
            raise EdhocError(f"{event}: {error}; begin anew", answer) from error
        except Exception:
            # EdhocError of a step, or whatever the caller's `private` or `peers` raise.
            self._forget()
            raise
        self.state = self._next[before, event]
        if self.state == AWAITS_4 and not self._has_message_4:
            self.state = self._next[self.state, WITHOUT_4]
        if self.state == DONE:
            self._finish()
        return answer

    def _process(self, event: str, data: bytes) -> bytes:
        raise NotImplementedError

    def _finish(self) -> None:
        """Hands the session out, and forgets what led to it."""
        self.session = keys.Session(self._prk_4e3m, self._th_4, self._peer, self._own_id, self._peer_id)
        self._forget()

    def _forget(self) -> None:
        self._ephemeral = self._prk_2e = self._prk_3e2m = self._prk_4e3m = b""

    # What both roles do at each message

    def _take_ead(self, number: int, items: "tuple[Ead, ...]") -> None:
        for item in items:
            if item.is_critical and item.label not in self._ead_labels:
                raise DecodeError(f"EAD item {item.label} is critical, and not known here")
        self.received[number] = tuple([item for item in items if item.label in self._ead_labels])

    def _candidates(self, event: str, item: object) -> "tuple[Named, tuple[Credential, ...]]":
        """Whom ID_CRED_x names, and who that may be."""
        named = decode_named(item)
        found = self._peers(named) if named is not None else ()  # type: ignore[operator]
        if named is None or not found:
            self._forget()
            answer = encode_error(messages.UNKNOWN_CREDENTIAL, True)
            raise EdhocError(f"{event}: the peer is not known here; enrol it first", answer)
        for peer in found:
            if named.ccs is not None and peer.ccs != named.ccs:
                raise ValueError("peers() returned another credential than the one that was sent")
        for peer in found:
            # Source: RFC 9528, appendix D.5, on peers that are oneself.
            if peer.public == self.identity.credential.public:
                raise DecodeError("the peer shows our own key")
        return named, found[:CANDIDATES_MAX]

    def _derive_2(self, g_x: bytes, g_y: bytes, message_1: bytes, peer_ephemeral: bytes) -> None:
        if g_x == g_y:
            raise DecodeError("our own ephemeral key came back")
        self._th_2 = keys.transcript_2(g_y, message_1)
        shared = self._suite.exchange(self._ephemeral, peer_ephemeral)
        self._prk_2e = keys.extract_first(self._th_2, shared)

    def _mac_2(self, c_r: bytes, named: Named, ccs: bytes, ead: bytes) -> bytes:
        context = encode_id(c_r) + id_cred(named) + cbor.encode(self._th_2) + ccs + ead
        return keys.kdf(self._prk_3e2m, keys.MAC_2, context, keys.MAC_BYTES)

    def _mac_3(self, named: Named, ccs: bytes, ead: bytes) -> bytes:
        context = id_cred(named) + cbor.encode(self._th_3) + ccs + ead
        return keys.kdf(self._prk_4e3m, keys.MAC_3, context, keys.MAC_BYTES)

    def _crypt_2(self, text: bytes) -> bytes:
        """PLAINTEXT_2 of CIPHERTEXT_2, and the other way round.  Source: RFC 9528, section 5.3.2."""
        stream = keys.kdf(self._prk_2e, keys.KEYSTREAM_2, self._th_2, len(text))
        return bytes([a ^ b for a, b in zip(text, stream)])  # noqa: B905  MicroPython has no strict

    def _key_3(self) -> "tuple[bytes, bytes]":
        key = keys.kdf(self._prk_3e2m, keys.K_3, self._th_3, keys.KEY_BYTES)
        return key, keys.kdf(self._prk_3e2m, keys.IV_3, self._th_3, keys.NONCE_BYTES)

    def _key_4(self) -> "tuple[bytes, bytes]":
        key = keys.kdf(self._prk_4e3m, keys.K_4, self._th_4, keys.KEY_BYTES)
        return key, keys.kdf(self._prk_4e3m, keys.IV_4, self._th_4, keys.NONCE_BYTES)

    def _send_ead(self, number: int) -> bytes:
        return messages.encode_ead(self._ead.get(number, ()))


class Initiator(Endpoint):
    """The vehicle: it starts, and shows who it is only after the device has proved itself.

    `selected`: index, in `suites`, of the suite to use: 0, unless `select` says another after a refusal.
    """

    _first, _next = IDLE, INITIATOR_NEXT

    def __init__(
        self,
        identity: Identity,
        peers: object,
        connection_id: bytes,
        ephemeral: bytes,
        suites: "tuple[keys.Suite, ...]" = (keys.SUITE_0,),
        ead: "dict[int, tuple[Ead, ...]] | None" = None,
        ead_labels: "tuple[int, ...]" = (),
        has_message_4: bool = False,
        selected: int = 0,
    ) -> None:
        super().__init__(identity, peers, connection_id, ephemeral, suites, ead, ead_labels, has_message_4)
        self._suite = suites[selected]
        self._offered = tuple([suite.number for suite in suites[: selected + 1]])

    def start(self) -> bytes:
        """message_1.  Raises EdhocError when it was started before.  Source: RFC 9528, section 5.2."""
        if self.state != IDLE:
            raise EdhocError(f"a handshake starts once, and this one is {self.state}; make a new one")
        self.state = FAILED
        self._g_x = self._suite.public_of(self._ephemeral)
        self._message_1 = messages.encode_1(self._offered, self._g_x, self._own_id, self._send_ead(1))
        self.state = self._next[IDLE, START]
        return self._message_1

    def _process(self, event: str, data: bytes) -> bytes:
        if event == MESSAGE_2:
            self._message_2(data)
            return self._message_3()
        sealed = messages.decode_bytes(data)
        plaintext = aes_ccm.open_(*self._key_4(), sealed, keys.aad(self._th_4))
        self._take_ead(4, messages.decode_plaintext_4(plaintext))
        return b""

    def _message_2(self, data: bytes) -> None:
        """Source: RFC 9528, section 5.3.3."""
        joined = messages.decode_bytes(data)
        size = self._suite.public_size
        if len(joined) <= size:
            raise DecodeError("no ciphertext follows G_Y")
        self._g_y = joined[:size]
        self._derive_2(self._g_x, self._g_y, self._message_1, self._g_y)
        plaintext = self._crypt_2(joined[size:])
        c_r, item, mac, ead = messages.decode_plaintext(plaintext, True)
        named, found = self._candidates(MESSAGE_2, item)
        ead_raw = plaintext[len(encode_id(c_r) + encode_named(named) + cbor.encode(mac)) :]
        for peer in found:
            shared = self._suite.exchange(self._ephemeral, peer.public)
            self._prk_3e2m = keys.extract(self._prk_2e, keys.SALT_3E2M, self._th_2, shared)
            if is_equal(mac, self._mac_2(c_r, named, peer.ccs, ead_raw)):
                break
        else:
            raise DecryptError("the device did not prove that it holds its key")
        self._take_ead(2, ead)
        self._peer, self._peer_id = peer, c_r
        self._th_3 = keys.transcript_next(self._th_2, plaintext, peer.ccs)

    def _message_3(self) -> bytes:
        """Source: RFC 9528, section 5.4.2."""
        own, named = self.identity.credential, self.identity.named
        shared = self._suite.exchange(self.identity.private(), self._g_y)
        self._prk_4e3m = keys.extract(self._prk_3e2m, keys.SALT_4E3M, self._th_3, shared)
        ead = self._send_ead(3)
        plaintext = encode_named(named) + cbor.encode(self._mac_3(named, own.ccs, ead)) + ead
        sealed = aes_ccm.seal(*self._key_3(), plaintext, keys.aad(self._th_3))
        self._th_4 = keys.transcript_next(self._th_3, plaintext, own.ccs)
        return cbor.encode(sealed)


class Responder(Endpoint):
    """The device: it answers, and learns who the vehicle is at the end."""

    _first, _next = AWAITS_1, RESPONDER_NEXT

    def _process(self, event: str, data: bytes) -> bytes:
        if event == MESSAGE_1:
            self._message_1(data)
            return self._message_2()
        self._message_3(data)
        if not self._has_message_4:
            return b""
        sealed = aes_ccm.seal(*self._key_4(), self._send_ead(4), keys.aad(self._th_4))
        return cbor.encode(sealed)

    def _message_1(self, data: bytes) -> None:
        """Source: RFC 9528, section 5.2.3."""
        message = messages.decode_1(data)
        ours = [suite.number for suite in self._suites]
        # One that the peer likes better, and we have, must have been selected.
        if message.selected not in ours or [number for number in message.suites[:-1] if number in ours]:
            self._forget()
            answer = encode_error(messages.WRONG_SUITE, ours[0] if len(ours) == 1 else ours)
            raise EdhocError(f"{MESSAGE_1}: suite {message.selected} is not the one to take", answer)
        self._suite = self._suites[ours.index(message.selected)]
        if len(message.g_x) != self._suite.public_size:
            raise KeyFormatError(f"G_X has not {self._suite.public_size} bytes")
        self._take_ead(1, message.ead)
        self._g_x, self._peer_id = message.g_x, message.c_i
        self._g_y = self._suite.public_of(self._ephemeral)
        self._derive_2(self._g_x, self._g_y, data, self._g_x)

    def _message_2(self) -> bytes:
        """Source: RFC 9528, section 5.3.2."""
        own, named = self.identity.credential, self.identity.named
        shared = self._suite.exchange(self.identity.private(), self._g_x)
        self._prk_3e2m = keys.extract(self._prk_2e, keys.SALT_3E2M, self._th_2, shared)
        ead = self._send_ead(2)
        mac = self._mac_2(self._own_id, named, own.ccs, ead)
        plaintext = encode_id(self._own_id) + encode_named(named) + cbor.encode(mac) + ead
        self._th_3 = keys.transcript_next(self._th_2, plaintext, own.ccs)
        return cbor.encode(self._g_y + self._crypt_2(plaintext))

    def _message_3(self, data: bytes) -> None:
        """Source: RFC 9528, section 5.4.3."""
        sealed = messages.decode_bytes(data)
        plaintext = aes_ccm.open_(*self._key_3(), sealed, keys.aad(self._th_3))
        _, item, mac, ead = messages.decode_plaintext(plaintext, False)
        named, found = self._candidates(MESSAGE_3, item)
        ead_raw = plaintext[len(encode_named(named) + cbor.encode(mac)) :]
        for peer in found:
            shared = self._suite.exchange(self._ephemeral, peer.public)
            self._prk_4e3m = keys.extract(self._prk_3e2m, keys.SALT_4E3M, self._th_3, shared)
            if is_equal(mac, self._mac_3(named, peer.ccs, ead_raw)):
                break
        else:
            raise DecryptError("the peer did not prove that it holds its key")
        self._take_ead(3, ead)
        self._peer = peer
        self._th_4 = keys.transcript_next(self._th_3, plaintext, peer.ccs)
