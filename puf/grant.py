"""A grant: a gateway's word that somebody may have a device do something, once; no curve checks it.

Runs on CPython and MicroPython.  A COSE_Mac0 (puf/cose_mac.py) of type cpc/device-grant under a key of
gateway and device, derive(pairwise(root, gateway, epoch), GRANT) (puf/keys.py), with the key's epoch, 4
bytes, as key id.  The payload has the claims of CWT where CWT has them:

    4  until, exclusive, Unix seconds        7  grant id: 8 bytes, a number of the gateway's Counter
    5  not before, Unix seconds              8  {3: subject}: who, as it proved itself in the handshake
    -65537  device                          -65538  actions, a sum of bits
    -65539  [deposit, amount_ucpc]: the escrow or transaction that stands behind it; absent if there is none

Both identities are covered by the tag, too: external_aad = << [gateway, device] >>.

**The device's clock.**  A device has none that it trusts over a restart.  It asks the gateway for the time
with a nonce (type cpc/time-request, payload [nonce, floor of its replay window]) and gets it under the same
key (type cpc/time, payload [nonce, time in ms]).  Anybody may carry both, the visitor included.  The answer
was made between asking and hearing, so the time is known up to that span, and then up to the drift of the
device's own clock.  A time that is not known refuses every grant: there is no exception.  A grant has
ended when it may have ended; it has begun when it may have begun.

Reasons of GrantError:

    1 FORMAT         not a grant                            7 WRONG_ACTION  not what it allows
    2 EPOCH_REVOKED  made with a key given up since         8 TIME_UNKNOWN  ask the gateway for the time
    3 EPOCH_UNKNOWN  made with a key not known here         9 TOO_EARLY     not yet
    4 FORGED         the tag is not the gateway's          10 EXPIRED       no more
    5 WRONG_DEVICE   another device's                      11 REPLAYED      used, or older than can be told
    6 WRONG_SUBJECT  somebody else's                       12 STALE_TIME    answers no open question, or late

Of these 1, 2, 3 and 5 are said of bytes that nobody vouches for; from 6 on the gateway's tag has held.
Source: RFC 8392 (CWT), section 3.1; RFC 7800 and RFC 8747 (confirmation by key id); RFC 9052.
"""

from collections import namedtuple

from puf import cbor
from puf.cose_mac import Parsed, mac0, parse_mac0
from puf.errors import DecodeError, GrantError, SignatureError
from puf.replay_window import NUMBER_MAX, ReplayWindow

FORMAT, EPOCH_REVOKED, EPOCH_UNKNOWN, FORGED, WRONG_DEVICE, WRONG_SUBJECT = 1, 2, 3, 4, 5, 6
WRONG_ACTION, TIME_UNKNOWN, TOO_EARLY, EXPIRED, REPLAYED, STALE_TIME = 7, 8, 9, 10, 11, 12

OPEN, CLOSE, CHARGE, STATUS = 1, 2, 4, 8
"""Actions, each a bit."""

TYP, TYP_REQUEST, TYP_TIME = "cpc/device-grant", "cpc/time-request", "cpc/time"
IDENTITY_BYTES_MAX = 64
NONCE_BYTES = 16
ANSWER_WAIT_MS_MAX = 10_000
"""A time that took longer to come is not believed: it would be known too vaguely."""
AGE_MS_MAX = 86_400_000
"""After a day without word from the gateway the time is not known any more."""
DRIFT_PPM = 1_000
"""How far a board's clock is trusted to run wrong: crystals keep to 100; this allows for heat and age."""
_DEVICE, _ACTIONS, _DEPOSIT = -65537, -65538, -65539
_TIME_S_MAX = 1 << 40


class Grant(
    namedtuple(
        "Grant",
        (
            "grant_id",
            "subject",
            "device",
            "actions",
            "not_before_ms",
            "until_ms",
            "deposit",
            "amount_ucpc",
            "epoch",
        ),
    )
):
    """What a gateway allows.

    `grant_id`: int, once in its epoch; `subject`, `device`: bytes, 1 to 64; `actions`: sum of OPEN, ..;
    `not_before_ms`, `until_ms`: Unix time, whole seconds; `deposit`: bytes, hash of a transaction or id of an
    escrow, empty when there is none; `amount_ucpc`: int; `epoch`: int, of the key.
    """

    __slots__ = ()
    KIND = "grant"


def _identities(gateway: bytes, device: bytes) -> bytes:
    return cbor.encode([gateway, device])


def _kid(epoch: int) -> bytes:
    return epoch.to_bytes(4, "big")


def issue(grant: Grant, gateway: bytes, key: bytes) -> bytes:
    """`grant` as the gateway hands it out, under the pairwise `key` of grant.epoch.

    Raises ValueError for a grant that no device would take.
    """
    if grant.not_before_ms % 1000 or grant.until_ms % 1000:
        raise ValueError("a grant begins and ends at whole seconds")
    claims: dict[int, object] = {
        4: grant.until_ms // 1000,
        5: grant.not_before_ms // 1000,
        7: grant.grant_id.to_bytes(8, "big"),
        8: {3: grant.subject},
        _DEVICE: grant.device,
        _ACTIONS: grant.actions,
    }
    if grant.deposit:
        claims[_DEPOSIT] = [grant.deposit, grant.amount_ucpc]
    payload = cbor.encode(claims)
    try:
        _claims(payload, grant.epoch)
    except DecodeError as error:
        raise ValueError(f"no device would take this grant: {error}") from None
    return mac0(TYP, payload, _kid(grant.epoch), key, _identities(gateway, grant.device))


def _is_identity(value: object) -> bool:
    return isinstance(value, bytes) and 1 <= len(value) <= IDENTITY_BYTES_MAX


def _claims(payload: bytes, epoch: int) -> Grant:
    """The grant that a payload says.  Raises DecodeError."""
    claims = cbor.decode(payload, 512, 3)
    if not isinstance(claims, dict):
        raise DecodeError("the claims are not a map")
    confirmation, deposit = claims.get(8), claims.get(_DEPOSIT)
    if len(claims) != (6 if deposit is None else 7) or not isinstance(confirmation, dict):
        raise DecodeError("the claims are not exactly those of a grant")
    subject, device, actions = confirmation.get(3), claims.get(_DEVICE), claims.get(_ACTIONS)
    until, begin, grant_id = claims.get(4), claims.get(5), claims.get(7)
    if len(confirmation) != 1 or not _is_identity(subject) or not _is_identity(device):
        raise DecodeError(f"subject and device are 1 to {IDENTITY_BYTES_MAX} bytes")
    if not cbor.is_int(actions, 1, 0xFFFF):
        raise DecodeError("the actions are not a sum of bits")
    if not cbor.is_int(begin, 0, _TIME_S_MAX) or not cbor.is_int(until, 0, _TIME_S_MAX):
        raise DecodeError("a time is no count of seconds")
    assert isinstance(begin, int) and isinstance(until, int)  # noqa: S101, PT018  just seen
    if begin >= until:
        raise DecodeError("it ends before it begins")
    if not isinstance(grant_id, bytes) or len(grant_id) != 8:
        raise DecodeError("the grant id is not 8 bytes")
    ident, amount_ucpc = b"", 0
    if deposit is not None:
        if not isinstance(deposit, list) or len(deposit) != 2:
            raise DecodeError("a deposit is [deposit, amount_ucpc]")
        ident, amount_ucpc = deposit
        if not _is_identity(ident) or not cbor.is_int(amount_ucpc, 0, NUMBER_MAX):
            raise DecodeError("a deposit is 1 to 64 bytes and an amount")
    number = int.from_bytes(grant_id, "big")
    return Grant(number, subject, device, actions, begin * 1000, until * 1000, ident, amount_ucpc, epoch)


def _parse(data: bytes, typ: str, external_aad: bytes) -> "tuple[Parsed, int]":
    """A statement and the epoch of its key.  Raises GrantError (FORMAT)."""
    try:
        parsed = parse_mac0(data, typ, external_aad)
    except DecodeError as error:
        raise GrantError(FORMAT, f"not a {typ}: {error}") from None
    if len(parsed.kid) != 4:
        raise GrantError(FORMAT, f"the key id of a {typ} is an epoch of 4 bytes")
    return parsed, int.from_bytes(parsed.kid, "big")


def _check(parsed: Parsed, key: bytes) -> None:
    try:
        parsed.check(key)
    except SignatureError as error:
        raise GrantError(FORGED, str(error)) from None


class DeviceClock:
    """What a device knows of the time: the gateway's last word and its own milliseconds since."""

    def __init__(self) -> None:
        self._nonce: bytes | None = None
        self._asked_ms = 0
        self._time_ms = 0
        self._span_ms = 0
        self._heard_ms: int | None = None

    def ask(self, nonce: bytes, now_ms: int) -> None:
        """A question with this nonce (bytes, 16, fresh and random) is on its way; an older one is void."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce is {NONCE_BYTES} fresh random bytes, not {len(nonce)}")
        self._nonce, self._asked_ms = nonce, now_ms

    def hear(self, nonce: bytes, time_ms: int, now_ms: int) -> None:
        """The gateway's authenticated answer.  Raises GrantError (STALE_TIME) if it answers nothing open."""
        waited_ms = now_ms - self._asked_ms
        if self._nonce is None or nonce != self._nonce:
            raise GrantError(STALE_TIME, "this time answers no open question; ask again")
        self._nonce = None
        if not 0 <= waited_ms <= ANSWER_WAIT_MS_MAX:
            raise GrantError(STALE_TIME, f"the time was {waited_ms} ms on its way; ask again")
        self._time_ms, self._span_ms, self._heard_ms = time_ms, waited_ms, now_ms

    def now(self, now_ms: int) -> "tuple[int, int] | None":
        """The earliest and the latest that it can be, Unix milliseconds; None when the time is not known."""
        if self._heard_ms is None:
            return None
        passed_ms = now_ms - self._heard_ms
        if not 0 <= passed_ms <= AGE_MS_MAX:
            return None
        drift_ms = passed_ms * DRIFT_PPM // 1_000_000 + 1
        earliest_ms = self._time_ms + passed_ms - drift_ms
        return earliest_ms, earliest_ms + 2 * drift_ms + self._span_ms


class Doorkeeper:
    """The device's judgement of grants and of the time.

    `gateway`, `device`: bytes, who they are to each other; `key`: bytes, 32, their pairwise key in the epoch
    of `window`, which remembers used grants over power cuts.
    """

    def __init__(self, gateway: bytes, device: bytes, key: bytes, window: ReplayWindow) -> None:
        self.clock = DeviceClock()
        self._device = device
        self._key = key
        self._window = window
        self._aad = _identities(gateway, device)

    def renew(self, key: bytes, epoch: int) -> None:
        """Takes the key of a later epoch: every grant before it is revoked, also after a power cut.

        Raises ValueError for an epoch that is not later.
        """
        self._window.renew(epoch)
        self._key = key

    def ask_time(self, nonce: bytes, now_ms: int) -> bytes:
        """A request for the gateway, to be carried by anybody.  `nonce`: bytes, 16, fresh and random."""
        self.clock.ask(nonce, now_ms)
        payload = cbor.encode([nonce, self._window.floor])
        return mac0(TYP_REQUEST, payload, _kid(self._window.epoch), self._key, self._aad)

    def hear_time(self, data: bytes, now_ms: int) -> None:
        """Sets the clock by the gateway's answer.  Raises GrantError; the clock is then as before."""
        parsed, epoch = _parse(data, TYP_TIME, self._aad)
        self._check_epoch(epoch)
        _check(parsed, self._key)
        nonce, time_ms = _pair(parsed)
        self.clock.hear(nonce, time_ms, now_ms)

    def check(self, data: bytes, subject: bytes, action: int, now_ms: int) -> Grant:
        """The grant by which `subject`, who proved who it is, may have `action` done now; then it is used.

        Raises GrantError with a reason; the grant then is as good as before.
        """
        if action <= 0:
            raise ValueError(f"an action is one or more bits of what a grant may allow, not {action}")
        parsed, epoch = _parse(data, TYP, self._aad)
        try:
            grant = _claims(parsed.payload, epoch)
        except DecodeError as error:
            raise GrantError(FORMAT, f"not a grant: {error}") from None
        if grant.device != self._device:
            raise GrantError(WRONG_DEVICE, f"this grant is for device {grant.device.hex()}")
        self._check_epoch(epoch)
        _check(parsed, self._key)
        if grant.subject != subject:
            raise GrantError(WRONG_SUBJECT, "this grant is somebody else's")
        if grant.actions & action != action:
            raise GrantError(WRONG_ACTION, f"actions {grant.actions} do not allow {action}")
        span = self.clock.now(now_ms)
        if span is None:
            raise GrantError(TIME_UNKNOWN, "the time is not known; ask the gateway for it")
        latest_ms = span[1]
        if latest_ms < grant.not_before_ms:
            raise GrantError(TOO_EARLY, f"this grant begins in {grant.not_before_ms - latest_ms} ms or more")
        if latest_ms >= grant.until_ms:
            raise GrantError(EXPIRED, f"this grant may have ended {latest_ms - grant.until_ms} ms ago")
        if not self._window.accept(grant.grant_id):
            raise GrantError(REPLAYED, "this grant was used, or is too old to tell; ask for a new one")
        return grant

    def _check_epoch(self, epoch: int) -> None:
        ours = self._window.epoch
        if epoch < ours:
            raise GrantError(EPOCH_REVOKED, f"made with the key of epoch {epoch}; it is {ours} now")
        if epoch > ours:
            raise GrantError(EPOCH_UNKNOWN, f"made with the key of epoch {epoch}; here it is {ours} still")


def answer_time(
    data: bytes, gateway: bytes, device: bytes, key: bytes, epoch: int, time_ms: int
) -> "tuple[bytes, int]":
    """The gateway's answer to a device's request, and the floor that its Counter of grants must skip to.

    Raises GrantError when the request is not this device's, or of another epoch.
    """
    aad = _identities(gateway, device)
    parsed, theirs = _parse(data, TYP_REQUEST, aad)
    if theirs != epoch:
        reason = EPOCH_REVOKED if theirs < epoch else EPOCH_UNKNOWN
        raise GrantError(reason, f"the device asks in epoch {theirs}; here it is {epoch}")
    _check(parsed, key)
    nonce, floor = _pair(parsed)
    return mac0(TYP_TIME, cbor.encode([nonce, time_ms]), _kid(epoch), key, aad), floor


def _pair(parsed: Parsed) -> "tuple[bytes, int]":
    """Nonce and number of a request or an answer."""
    try:
        parts = cbor.decode(parsed.payload, 64, 1)
    except DecodeError as error:
        raise GrantError(FORMAT, f"in the {parsed.typ}: {error}") from None
    if isinstance(parts, list) and len(parts) == 2:
        nonce, number = parts
        if isinstance(nonce, bytes) and len(nonce) == NONCE_BYTES and cbor.is_int(number, 0, NUMBER_MAX + 1):
            return nonce, int(number)
    raise GrantError(FORMAT, f"the payload of a {parsed.typ} is a nonce and a number")
