"""Grants: what they open, for whom, and nothing else; RFC 9180 by an opener of our own."""

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.crypto.chunk import open_where_it_says, parse_chunk
from gateway.crypto.errors import (
    CallerError,
    GrantDamaged,
    GrantDishonest,
    GrantError,
    GrantForeign,
    GrantNotForYou,
    GrantRefused,
    GrantUnsigned,
    KeyNotGranted,
    SizeRefused,
    SlotRefused,
    StreamNotGranted,
    StreamRefused,
    WrongKey,
)
from gateway.crypto.grant import (
    GRANT_SIZE_MAX,
    NOTE_SIZE_MAX,
    Grant,
    make_grant,
    open_grant,
    read_terms,
    slot_of,
    slots_within,
)
from gateway.crypto.key_tree import SLOT_COUNT, Cover, KeyTree, Seed
from gateway.crypto.seal import SealedSegment, open_chunk, open_segment, seal_segment, segment_key, slot_key
from gateway.crypto.slot import SLOT_MAX, slot_end_ns, slot_start_ns
from gateway.crypto.stream import StreamKeys
from puf import cbor, cose
from puf.ed25519 import SigningKey
from puf.x25519 import PrivateKey

OWNER = SigningKey(bytes([1] * 32))
READER = PrivateKey(bytes([2] * 32))
KEYS = StreamKeys(bytes([3] * 32), OWNER.public, "can0", 60_000)
FIRST, LAST = 8_000_000, 8_000_020


def grant_bytes(
    first: int = FIRST, last: int = LAST, note: str = "", recipient: bytes = READER.public
) -> bytes:
    return make_grant(OWNER, KEYS.tree, KEYS.stream_id, "can0", 60_000, first, last, recipient, note)


GOOD = grant_bytes(note="for the insurance")


def payload_of(data: bytes) -> list[object]:
    value = cbor.decode(cose.open1(data, "cpc/grant").payload)
    assert isinstance(value, list)
    return value


def signed(payload: object, owner: SigningKey = OWNER) -> bytes:
    return cose.sign1("cpc/grant", cbor.encode(payload), owner)


def sealed_in(slot: int, segment_id: bytes, blocks: list[bytes]) -> SealedSegment:
    return seal_segment(KEYS.segment_key(slot, segment_id), KEYS.stream_id, slot, segment_id, blocks)


# RFC 9180 in the reader's direction, from its sections 4.1 and 5, with nothing but HMAC, X25519 and the AEAD.
def labeled(suite: bytes, label: bytes, data: bytes) -> bytes:
    return b"HPKE-v1" + suite + label + data


def expand(prk: bytes, suite: bytes, label: bytes, info: bytes, size: int) -> bytes:
    out = hmac.digest(prk, size.to_bytes(2, "big") + labeled(suite, label, info) + b"\x01", "sha256")
    return out[:size]


def hpke_open_by_hand(
    private: bytes, enc: bytes, info: bytes, ciphertext: bytes, aad: bytes = b""
) -> tuple[bytes, bytes]:
    """The shared secret and the plaintext.  Base mode, KEM 0x0020, KDF 0x0001, AEAD 0x0003."""
    key = X25519PrivateKey.from_private_bytes(private)
    shared = key.exchange(X25519PublicKey.from_public_bytes(enc))
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"
    eae_prk = hmac.digest(bytes(32), labeled(kem, b"eae_prk", shared), "sha256")
    secret = expand(eae_prk, kem, b"shared_secret", enc + key.public_key().public_bytes_raw(), 32)
    psk_id_hash = hmac.digest(bytes(32), labeled(suite, b"psk_id_hash", b""), "sha256")
    info_hash = hmac.digest(bytes(32), labeled(suite, b"info_hash", info), "sha256")
    context = b"\x00" + psk_id_hash + info_hash
    prk = hmac.digest(secret, labeled(suite, b"secret", b""), "sha256")
    aead = ChaCha20Poly1305(expand(prk, suite, b"key", context, 32))
    return secret, aead.decrypt(expand(prk, suite, b"base_nonce", context, 12), ciphertext, aad)


def test_our_own_reading_of_rfc_9180_passes_its_vector() -> None:
    # Appendix A.2.1, sequence number 0.
    secret, plaintext = hpke_open_by_hand(
        bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"),
        bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
        b"Ode on a Grecian Urn",
        bytes.fromhex(
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
        ),
        b"Count-0",
    )
    assert secret.hex() == "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7"
    assert plaintext == b"Beauty is truth, truth beauty"


def test_any_implementation_of_rfc_9180_can_open_a_grant() -> None:
    version, stream_id, name, slot_ms, first, last, recipient, note, enc, ciphertext = payload_of(GOOD)
    terms = [OWNER.public, stream_id, name, slot_ms, first, last, recipient, note]
    info = cbor.encode(["cpc/grant", version, *terms])
    assert isinstance(enc, bytes)
    assert isinstance(ciphertext, bytes)
    _, opened = hpke_open_by_hand(READER.seed, enc, info, ciphertext)
    assert opened == KEYS.slot_key(LAST) + Cover(KEYS.tree.cover(FIRST, LAST)).encode()


def test_the_golden_grant_still_opens() -> None:
    grant = open_grant(
        bytes.fromhex(
            "d2845831a301270458208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c10696370632f"
            "6772616e74a058fa8a015820689bed0b16d65e8033b2d6ce14f95e387b10cdee78f529284018c00c811a9be66463616e"
            "3019ea60090b5820ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d5966676f6c64656e58"
            "202783b4d1f15d6d5d33e964556d58b17c9a8ed66b52088379fba9ee68d03e731e587f741858efddf7b01056fd858407"
            "3d5e0b6034b57cd8d4d3100b1ea85f4d380084670c561d887052faf9be71dc218c31eee5dff198a44aa828b6f454656b"
            "f5645e9a7ab330fd94dd058728473a7c15e0e692f650ae47b743476d53f1997f80f07017a620bea476ceed071df355c2"
            "99fec436753af2a43c80cc641a44cd34e2d8584074f9b6611689470e34d3054064e35bb7db5e261263af9f268fe39fbc"
            "7bbcd30939169fcfccb27e0066ee1efcfce4603b2f6758347e273e86cec2394fbfe09b03"
        ),
        READER,
        OWNER.public,
    )
    assert (grant.stream_id, grant.first_slot, grant.last_slot, grant.note) == (
        KEYS.stream_id,
        9,
        11,
        "golden",
    )
    assert grant.cover == Cover(KEYS.tree.cover(9, 11))
    assert grant.last_slot_key == KEYS.slot_key(11)


def test_a_grant_says_openly_who_lets_whom_read_what() -> None:
    terms = read_terms(GOOD, OWNER.public)
    assert (terms.owner, terms.recipient) == (OWNER.public, READER.public)
    assert (terms.stream_id, terms.name, terms.slot_ms) == (KEYS.stream_id, "can0", 60_000)
    assert (terms.first_slot, terms.last_slot, terms.note) == (FIRST, LAST, "for the insurance")
    assert (terms.from_ns, terms.to_ns) == (slot_start_ns(FIRST, 60_000), slot_end_ns(LAST, 60_000))
    assert slots_within(terms.from_ns, terms.to_ns, 60_000) == (FIRST, LAST)
    opened = open_grant(GOOD, READER, None)
    assert opened.owner == OWNER.public
    assert opened.note == "for the insurance"


edges = st.sampled_from([0, 1, 63, 64, 65, SLOT_MAX - 1, SLOT_MAX]) | st.integers(0, SLOT_MAX)


@settings(deadline=None, max_examples=60)
@given(edges, edges, st.lists(edges, max_size=6), st.binary(min_size=16, max_size=16), st.booleans())
@example(5, 5, [4, 6], bytes(16), True)
@example(0, SLOT_MAX, [], bytes(16), True)
def test_a_reader_opens_the_segments_of_the_granted_slots_and_nothing_else(
    first: int, last: int, elsewhere: list[int], segment_id: bytes, is_short: bool
) -> None:
    first, last = min(first, last), max(first, last)
    last = min(last, first + 40) if is_short else last
    grant = open_grant(grant_bytes(first, last), READER, OWNER.public)
    for slot in {first, last, (first + last) // 2, first - 1, last + 1, last + 2, *elsewhere}:
        if not 0 <= slot <= SLOT_MAX:
            continue
        sealed = sealed_in(slot, segment_id, [b"speed", b"88 km/h"])
        if first <= slot <= last:
            key = grant.segment_key(slot, KEYS.stream_id, segment_id)
            assert open_segment(key, sealed.chunks, sealed.chunk_ids) == [b"speed", b"88 km/h"]
            continue
        with pytest.raises(KeyNotGranted) as caught:
            grant.segment_key(slot, KEYS.stream_id, segment_id)
        assert (caught.value.slot, caught.value.ranges) == (slot, ((first, last),))
        # Nor does any key that can be made of what the grant holds, asked or not.
        leaves = [grant.cover.leaf(at) for at in {first, first + 1, last}] if grant.cover else []
        made = [slot_key(one, other, KEYS.stream_id) for one in leaves for other in leaves]
        for held in (grant.last_slot_key, *made):
            with pytest.raises(WrongKey):
                open_segment(segment_key(held, segment_id), sealed.chunks, sealed.chunk_ids)


@settings(deadline=None, max_examples=60)
@given(edges, st.integers(0, 40))
def test_a_grant_holds_no_leaf_behind_its_last_slot(first: int, more: int) -> None:
    last = min(first + more, SLOT_MAX)
    grant = open_grant(grant_bytes(first, last), READER, OWNER.public)
    assert grant.last_slot_key == KEYS.slot_key(last)
    if first == last:
        assert grant.cover is None
    else:
        assert grant.cover is not None
        assert grant.cover.ranges == ((first, last),)
    with pytest.raises(KeyNotGranted):
        grant.segment_key(last + 1, KEYS.stream_id, bytes(16))


def opened_by(grants: list[Grant], slot: int) -> bool:
    """Whether any key that can be made of everything these grants hold together opens a chunk of `slot`."""
    covers = [grant.cover for grant in grants if grant.cover is not None]
    seeds = {seed.key for cover in covers for seed in cover.seeds}
    leaves = {cover.leaf(at) for cover in covers for low, high in cover.ranges for at in range(low, high + 1)}
    held = {grant.last_slot_key for grant in grants}
    held |= {slot_key(one, other, KEYS.stream_id) for one in leaves for other in leaves}
    header = parse_chunk(sealed_in(slot, bytes(16), [b"88 km/h"]).chunks[0])
    return any(
        open_where_it_says(segment_key(key, bytes(16)), header) is not None for key in held | leaves | seeds
    )


ranges = st.tuples(st.integers(0, 8), st.just(0) | st.integers(0, 4))


@settings(deadline=None, max_examples=60)
@given(st.lists(ranges, min_size=1, max_size=4), st.sampled_from([0, 60, FIRST, SLOT_MAX - 13]))
@example([(0, 3), (5, 3)], 100)
@example([(0, 0), (1, 0), (3, 0)], 100)
@example([(0, 0), (1, 4), (6, 0), (8, 4)], 100)
@example([(0, 3), (4, 3)], 100)
@example([(0, 4), (2, 4), (3, 0)], 100)
def test_grants_pooled_open_the_union_of_their_slots_and_nothing_else(
    spans: list[tuple[int, int]], base: int
) -> None:
    spans = [(base + low, base + low + more) for low, more in spans]
    grants = [open_grant(grant_bytes(*span), READER, OWNER.public) for span in spans]
    slots = range(max(base - 1, 0), min(base + 14, SLOT_MAX + 1))
    granted = {slot for low, high in spans for slot in range(low, high + 1)}
    assert granted <= set(slots)
    assert {slot for slot in slots if opened_by(grants, slot)} == granted


def test_a_grant_of_a_time_opens_what_was_taken_within_it() -> None:
    start = slot_start_ns(FIRST, 60_000)
    span = slots_within(start - 1, start + 5 * 60 * 10**9 + 1, 60_000)
    assert span == (FIRST, FIRST + 4)
    grant = open_grant(grant_bytes(*span), READER, OWNER.public)
    for taken_ns, is_granted in (
        (start - 1, False),
        (start, True),
        (start + 299 * 10**9, True),
        (start + 300 * 10**9, False),
    ):
        slot = slot_of(taken_ns, 60_000)
        sealed = sealed_in(slot, bytes(16), [b"record"])
        if is_granted:
            key = grant.segment_key(slot, KEYS.stream_id, bytes(16))
            assert open_chunk(key, sealed.chunks[0], KEYS.stream_id, slot, bytes(16), 0) == b"record"
        else:
            with pytest.raises(KeyNotGranted):
                grant.segment_key(slot, KEYS.stream_id, bytes(16))


def test_another_stream_stays_closed() -> None:
    grant = open_grant(GOOD, READER, OWNER.public)
    with pytest.raises(StreamNotGranted) as caught:
        grant.segment_key(FIRST, bytes(32), bytes(16))
    assert (caught.value.got, caught.value.want) == (bytes(32), KEYS.stream_id)
    assert isinstance(caught.value, KeyNotGranted)
    with pytest.raises(SizeRefused):
        grant.segment_key(FIRST, KEYS.stream_id, bytes(15))


def test_a_grant_for_another_reader_stays_closed() -> None:
    other = PrivateKey(bytes([9] * 32))
    with pytest.raises(GrantNotForYou) as caught:
        open_grant(GOOD, other, OWNER.public)
    assert (caught.value.recipient, caught.value.reader) == (READER.public, other.public)
    # Naming himself the recipient does not help the other reader, even if the owner signs that.
    payload = payload_of(GOOD)
    payload[6] = other.public
    with pytest.raises(GrantDamaged, match="do not open"):
        open_grant(signed(payload), other, OWNER.public)


def test_a_grant_of_an_unexpected_owner_is_refused() -> None:
    other = SigningKey(bytes([8] * 32))
    with pytest.raises(GrantForeign) as caught:
        open_grant(GOOD, READER, other.public)
    assert (caught.value.got, caught.value.want) == (OWNER.public, other.public)
    with pytest.raises(GrantForeign):
        read_terms(GOOD, other.public)


def test_nobody_can_sign_the_grant_of_another_as_his_own() -> None:
    thief = SigningKey(bytes([7] * 32))
    with pytest.raises(GrantDamaged, match="stream id"):
        open_grant(signed(payload_of(GOOD), thief), READER, None)
    own = StreamKeys(bytes(32), thief.public, "can0", 60_000)
    payload = payload_of(GOOD)
    payload[1] = own.stream_id
    with pytest.raises(GrantDamaged, match="do not open"):
        open_grant(signed(payload, thief), READER, None)


def test_a_forged_signature_is_refused() -> None:
    forged = bytearray(GOOD)
    forged[-1] ^= 1
    with pytest.raises(GrantUnsigned):
        open_grant(bytes(forged), READER, OWNER.public)


def test_another_statement_of_the_owner_is_no_grant() -> None:
    with pytest.raises(GrantDamaged, match="cpc/tx"):
        open_grant(cose.sign1("cpc/tx", cbor.encode(payload_of(GOOD)), OWNER), READER, OWNER.public)


CHANGES: dict[str, tuple[int, object]] = {
    "another version": (0, 2),
    "a boolean for the version": (0, True),
    "a stream id of another stream": (1, bytes(32)),
    "another name": (2, "can1"),
    "a name for the terminal": (2, "\x1b[2J"),
    "another slot length": (3, 60_001),
    "an impossible slot length": (3, 1),
    "a boolean for a slot": (4, True),
    "slots the wrong way round": (4, LAST + 1),
    "a negative slot": (4, -1),
    "a slot too many": (5, LAST + 1),
    "a slot too few": (5, LAST - 1),
    "a slot beyond the tree": (5, SLOT_MAX + 1),
    "a short recipient": (6, bytes(31)),
    "another note": (7, "for all"),
    "an unprintable note": (7, "\x07"),
    "a long note": (7, "x" * (NOTE_SIZE_MAX + 1)),
    "a short HPKE key": (8, bytes(31)),
    "an HPKE key of low order": (8, bytes(32)),
    "another HPKE key": (8, READER.public),
    "no ciphertext": (9, b""),
    "another ciphertext": (9, bytes(500)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_grant_with_a_changed_term_opens_nothing_even_if_its_owner_signs_it(name: str) -> None:
    at, value = CHANGES[name]
    payload = payload_of(GOOD)
    payload[at] = value
    with pytest.raises(GrantDamaged):
        open_grant(signed(payload), READER, OWNER.public)


def test_a_byte_moved_between_two_fields_makes_no_second_form_of_a_grant() -> None:
    payload = payload_of(GOOD)
    enc, ciphertext = payload[8:]
    assert isinstance(enc, bytes)
    assert isinstance(ciphertext, bytes)
    with pytest.raises(GrantDamaged, match="31 bytes"):
        open_grant(signed([*payload[:8], enc[:-1], enc[-1:] + ciphertext]), READER, OWNER.public)


@pytest.mark.parametrize("payload", [None, 7, [], {}, payload_of(GOOD)[:-1], [*payload_of(GOOD), 1]])
def test_a_payload_of_another_shape_is_refused(payload: object) -> None:
    with pytest.raises(GrantDamaged):
        open_grant(signed(payload), READER, OWNER.public)


@pytest.mark.parametrize(
    ("low", "high"), [(FIRST, LAST - 1), (FIRST - 1, LAST), (FIRST, LAST + 1), (0, SLOT_COUNT - 1)]
)
def test_a_grant_whose_keys_are_not_those_it_promises_is_refused(
    monkeypatch: pytest.MonkeyPatch, low: int, high: int
) -> None:
    honest = KeyTree.cover

    def cheat(tree: KeyTree, first: int, last: int) -> tuple[Seed, ...]:
        return honest(tree, low, high)

    monkeypatch.setattr(KeyTree, "cover", cheat)
    dishonest = grant_bytes()
    with pytest.raises(GrantDishonest) as caught:
        open_grant(dishonest, READER, OWNER.public)
    assert (caught.value.ranges, caught.value.slots) == (((low, high),), (FIRST, LAST))


def test_a_grant_that_holds_no_keys_at_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cover, "encode", lambda cover: b"nothing")
    with pytest.raises(GrantDishonest) as caught:
        open_grant(grant_bytes(), READER, OWNER.public)
    assert caught.value.ranges == ()


LEAVES = Cover(KEYS.tree.cover(FIRST, LAST)).encode()
ONE_LEAF = Cover(KEYS.tree.cover(FIRST, FIRST)).encode()


SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
DISHONEST = {
    "nothing": (LAST, b"", "0 bytes hold no slot key"),
    "a short slot key": (LAST, bytes(31), "31 bytes hold no slot key"),
    "a slot key without leaves": (LAST, bytes(32), "no cover"),
    "leaves without a slot key": (LAST, LEAVES, "no cover"),
    "leaves and a byte more": (LAST, bytes(32) + LEAVES + b"x", "no cover"),
    "one leaf of many": (LAST, bytes(32) + ONE_LEAF, "the leaves are others"),
    "nothing for one slot": (FIRST, b"", "0 bytes hold no slot key"),
    "a long slot key": (FIRST, bytes(33), "no cover"),
    "the leaf of one slot": (FIRST, bytes(32) + ONE_LEAF, "a single slot comes without leaves"),
    "the leaf instead of the slot key": (FIRST, ONE_LEAF, "no cover"),
}


@pytest.mark.parametrize("name", DISHONEST)
def test_keys_of_another_layout_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    last, keys, why = DISHONEST[name]

    class Cheat:
        def encrypt(self, _: bytes, key: X25519PublicKey, info: bytes) -> bytes:
            return SUITE.encrypt(keys, key, info=info)

    with monkeypatch.context() as patched:
        patched.setattr("gateway.crypto.grant._SUITE", Cheat())
        dishonest = grant_bytes(FIRST, last)
    with pytest.raises(GrantDishonest, match=f"promises slots {FIRST}..{last}") as caught:
        open_grant(dishonest, READER, OWNER.public)
    assert caught.value.why.startswith(why)


def refused(**changes: object) -> type[CallerError]:
    terms: dict[str, object] = {
        "owner": OWNER,
        "tree": KEYS.tree,
        "stream_id": KEYS.stream_id,
        "stream_name": "can0",
        "slot_ms": 60_000,
        "first_slot": FIRST,
        "last_slot": LAST,
        "recipient": READER.public,
        "note": "",
    }
    with pytest.raises(CallerError) as caught:
        make_grant(**(terms | changes))  # type: ignore[arg-type]  # the point is to pass what cannot be
    return type(caught.value)


def test_a_grant_that_cannot_be_made_is_refused() -> None:
    assert refused(stream_id=bytes(32)) is GrantRefused
    assert refused(owner=SigningKey(bytes(32))) is GrantRefused
    assert refused(stream_name="") is StreamRefused
    assert refused(slot_ms=10) is SlotRefused
    assert refused(first_slot=LAST + 1) is GrantRefused
    assert refused(first_slot=-1) is GrantRefused
    assert refused(last_slot=SLOT_MAX + 1) is GrantRefused
    assert refused(recipient=bytes(31)) is GrantRefused
    assert refused(recipient=bytes(32)) is GrantRefused
    assert refused(note="\x1b[2J") is GrantRefused
    assert refused(note="x" * (NOTE_SIZE_MAX + 1)) is GrantRefused


def test_the_longest_grant_stays_within_its_bound() -> None:
    name, note = "é" * 64, "é" * (NOTE_SIZE_MAX // 2)
    keys = StreamKeys(bytes(32), OWNER.public, name, 60_000)
    slots = (1, SLOT_MAX)
    data = make_grant(OWNER, keys.tree, keys.stream_id, name, 60_000, *slots, READER.public, note)
    assert len(data) < GRANT_SIZE_MAX // 2
    cover = open_grant(data, READER, OWNER.public).cover
    assert cover is not None
    assert len(cover.seeds) == 58


def test_a_year_of_minutes_is_a_few_seeds() -> None:
    year = 365 * 24 * 60
    counts = [len(KEYS.tree.cover(first, first + year - 1)) for first in range(FIRST, FIRST + 10**6, 9_973)]
    assert max(counts) <= 36
    assert 12 <= sum(counts) / len(counts) <= 22
    assert len(grant_bytes(FIRST, FIRST + year - 1)) < 2_000


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400))
@example(b"")
@example(bytes(GRANT_SIZE_MAX * 2))
def test_arbitrary_bytes_are_refused_as_a_grant(data: bytes) -> None:
    with pytest.raises(GrantDamaged):
        open_grant(data, READER, None)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_changed_byte_never_opens(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    bad = GOOD[:at] + bytes([GOOD[at] ^ data.draw(st.integers(1, 255))]) + GOOD[at + 1 :]
    with pytest.raises(GrantError):
        open_grant(bad, READER, None)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers() | st.binary(max_size=40) | st.text(max_size=10), min_size=10, max_size=10))
def test_an_owner_who_signs_nonsense_gets_the_declared_error(payload: list[object]) -> None:
    with pytest.raises(GrantDamaged):
        open_grant(signed(payload), READER, None)


def test_no_repr_shows_a_key() -> None:
    grant: Grant = open_grant(GOOD, READER, OWNER.public)
    assert grant.cover is not None
    for key in (grant.last_slot_key, *(seed.key for seed in grant.cover.seeds)):
        assert key.hex() not in repr(grant)
        assert repr(key)[2:-1] not in repr(grant)
