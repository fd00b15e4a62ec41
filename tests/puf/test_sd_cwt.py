"""Credentials with selective disclosure: the draft's own hash, a foreign verdict, and every way to cheat."""

import hashlib
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.algorithms import CoseAlgorithm, EdDSA
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from puf import cbor, sd_cwt
from puf.cbor import Simple, Tag
from puf.ed25519 import SigningKey
from puf.errors import CredentialError, DecodeError, PufError, SignatureError
from tests import micropython

ISSUER = SigningKey(b"i" * 32)
HOLDER = SigningKey(b"h" * 32)
THIEF = SigningKey(b"t" * 32)
SITE = "did:cpc:zSite"
NONCE = b"n" * 16
NOW_MS = 1_725_244_237_000
CLAIMS: dict[int | str, object] = {
    1: "did:cpc:zIssuer",
    4: 1_725_330_600,
    6: 1_725_244_200,
    "schema": "vehicle",
}
REDACTED: dict[int | str, object] = {"plug": "CCS2", "contract": "DE*ABC*123456", "plate": "B-XY 77"}
SALTS = [bytes([number]) * 16 for number in (1, 2, 3)]


def issued() -> bytes:
    return sd_cwt.issue(CLAIMS, REDACTED, HOLDER.public, ISSUER, SALTS)


def shown(
    *claims: str, holder: SigningKey = HOLDER, data: bytes | None = None, now_ms: int = NOW_MS
) -> bytes:
    return sd_cwt.present(data or issued(), claims, holder, SITE, NONCE, now_ms)


def verified(data: bytes, **other: Any) -> sd_cwt.Presented:
    arguments: dict[str, Any] = {
        "issuers": [ISSUER.public],
        "audience": SITE,
        "nonce": NONCE,
        "now_ms": NOW_MS,
    }
    return sd_cwt.verify_presentation(data, **(arguments | other))


def refused(data: bytes, **other: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        verified(data, **other)
    return caught.value.reason


def parts_of(data: bytes) -> list[Any]:
    """The four parts of a COSE_Sign1."""
    statement = cbor.decode(data)
    assert isinstance(statement, Tag)
    assert isinstance(statement.value, list)
    return statement.value


def with_parts(key: SigningKey, protected: object, unprotected: object, payload: bytes) -> Tag:
    header = protected if isinstance(protected, bytes) else cbor.encode(protected)
    signature = key.sign(cbor.encode(["Signature1", header, b"", payload]))
    return Tag(18, [header, unprotected, payload, signature])


def bound(credential: Tag, key: SigningKey = HOLDER, **payload: Any) -> bytes:
    claims = {3: SITE, 6: NOW_MS // 1000, 39: NONCE} | payload.get("claims", {})
    header = {1: -19, 13: credential, 16: 294} | payload.get("header", {})
    return cbor.encode(with_parts(key, header, payload.get("unprotected", {}), cbor.encode(claims)))


def test_the_hash_of_a_disclosure_is_the_drafts() -> None:
    """Source: draft-ietf-spice-sd-cwt, first example: claim 501, and a redacted date."""
    for parts, expected in (
        (
            [bytes.fromhex("bae611067bb823486797da1ebbb52f83"), "ABCD-123456", 501],
            "af375dc3fba1d082448642c00be7b2f7bb05c9d8fb61cfc230ddfdfb4616a693",
        ),
        (
            [bytes.fromhex("8de86a012b3043ae6e4457b9e1aaab80"), 1549560720],
            "1b7fc8ecf4b1290712497d226c04b503b4aa126c603c83b75d2679c3c613f3fd",
        ),
    ):
        assert sd_cwt._hash(cbor.encode(parts)).hex() == expected


def test_the_wire_format_is_golden() -> None:
    assert issued().hex() == GOLDEN_ISSUED
    assert shown("plug").hex() == GOLDEN_SHOWN


def test_what_is_shown_is_believed_and_nothing_else_is_there() -> None:
    data = shown("plug", "plate")
    presented = verified(data, required=("plug",))
    assert presented.claims["plug"] == "CCS2"
    assert presented.claims["plate"] == "B-XY 77"
    assert "contract" not in presented.claims
    assert b"DE*ABC" not in data
    assert b"contract" not in data
    assert (presented.issuer, presented.holder) == (ISSUER.public, HOLDER.public)
    assert set(verified(shown()).claims) == {1, 4, 6, 8, "schema"}


def test_issuer_and_nonce_are_read_before_anything_is_checked() -> None:
    data = shown("plug")
    assert sd_cwt.read_presentation(data) == ("did:cpc:zIssuer", NONCE)
    # A signature that does not hold is for later; what has neither name nor nonce is no presentation.
    assert sd_cwt.read_presentation(data[:-1] + b"\0") == ("did:cpc:zIssuer", NONCE)
    credential = cbor.decode(issued())
    nameless = with_parts(
        ISSUER, parts_of(issued())[0], {}, cbor.encode({8: {1: {1: 1, -1: 6, -2: HOLDER.public}}})
    )
    unasked = cbor.encode(
        with_parts(HOLDER, {1: -19, 13: credential, 16: 294}, {}, cbor.encode({3: SITE, 6: NOW_MS // 1000}))
    )
    for wrong in (bound(nameless), unasked, issued(), b"", data[:-1]):
        with pytest.raises(DecodeError):
            sd_cwt.read_presentation(wrong)


def test_a_holder_cannot_make_itself_a_credential_in_its_issuers_name() -> None:
    """All is right but the one signature that the issuer did not give: claims, key, binding."""
    protected, _, payload, _ = parts_of(issued())
    forged = with_parts(HOLDER, protected, {}, payload)
    with pytest.raises(SignatureError, match="is not that of issuer"):
        verified(bound(forged))
    with pytest.raises(SignatureError, match="is not that of issuer"):
        sd_cwt.open_credential(cbor.encode(forged))
    # And with the issuer's, of another credential.
    other = parts_of(sd_cwt.issue(CLAIMS | {"schema": "driver"}, {}, HOLDER.public, ISSUER, []))
    with pytest.raises(SignatureError):
        verified(bound(Tag(18, [protected, {}, payload, other[3]])))


@pytest.mark.parametrize("kid", [b"short", bytes(33), "text", 7, None])
def test_an_issuers_key_is_32_bytes(kid: object) -> None:
    payload = parts_of(issued())[2]
    with pytest.raises(DecodeError, match="32-byte key"):
        verified(bound(with_parts(ISSUER, {1: -19, 4: kid, 16: 293}, {}, payload)))


def test_a_foreign_library_reads_and_verifies_both_signatures() -> None:
    class Ed25519(EdDSA):  # RFC 9864's name for what pycose knows by the older number only.
        identifier = -19
        fullname = "ED25519"

    registry: Any = CoseAlgorithm
    registry.get_registered_classes()[-19] = Ed25519
    tag = cbor2.loads(shown("plug"))
    inner = cbor2.loads(tag.value[0])[13]
    for parts, key in ((tag.value, HOLDER), (inner.value, ISSUER)):
        message: Any = Sign1Message.from_cose_obj(
            [parts[0], {}, parts[2], parts[3]], allow_unknown_attributes=True
        )
        message.key = OKPKey(crv="ED25519", x=key.public)
        assert message.verify_signature() is True
        message.key = OKPKey(crv="ED25519", x=THIEF.public)
        assert message.verify_signature() is False
    claims = cbor2.loads(inner.value[2])
    hashes = claims[cbor2.CBORSimpleValue(59)]
    (disclosure,) = inner.value[1][17]
    assert hashlib.sha256(cbor2.dumps(disclosure)).digest() in hashes
    assert cbor2.loads(disclosure)[1:] == ["CCS2", "plug"] or tuple(cbor2.loads(disclosure)[1:]) == (
        "CCS2",
        "plug",
    )


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"audience": "did:cpc:zOther"}, "audience"),
        ({"nonce": b"m" * 16}, "nonce"),
        ({"now_ms": NOW_MS + 2 * 60_000}, "age"),
        ({"now_ms": NOW_MS - 60_001}, "age"),
        ({"now_ms": 1_725_244_139_999}, "early"),
        ({"now_ms": 1_725_330_660_000}, "expired"),
        ({"issuers": [THIEF.public]}, "issuer"),
        ({"issuers": []}, "issuer"),
        ({"required": ("contract",)}, "withheld"),
    ],
)
def test_each_reason_to_refuse_is_named(other: Any, reason: str) -> None:
    assert refused(shown("plug"), **other) == reason


def test_only_the_holder_can_show_it() -> None:
    with pytest.raises(CredentialError, match="another key"):
        shown("plug", holder=THIEF)
    credential: Any = cbor.decode(issued())
    with pytest.raises(SignatureError, match="does not hold the key"):
        verified(bound(credential, key=THIEF))
    assert set(verified(bound(credential)).claims) >= set(REDACTED)


def test_what_was_heard_cannot_be_shown_again_or_elsewhere_or_with_other_claims() -> None:
    data = shown("plug")
    assert refused(data, nonce=b"x" * 16) == "nonce"
    assert refused(data, audience="did:cpc:zElse") == "audience"
    outer: Any = cbor.decode(data)
    header: Any = cbor.decode(outer.value[0])
    all_of_them: Any = cbor.decode(issued())
    header[13].value[1] = all_of_them.value[1]
    outer.value[0] = cbor.encode(header)
    with pytest.raises(SignatureError):
        verified(cbor.encode(outer))


def test_forged_disclosures_are_refused() -> None:
    credential: Any = cbor.decode(issued())
    own = credential.value[1][17]
    forged = cbor.encode([SALTS[0], "CCS1", "plug"])
    for disclosures, why in (
        ([own[0], own[0]], "twice"),
        ([forged], "not in the credential"),
        ([], "a list of 1"),
        ([own[0], b""], "not in the credential"),
        ([own[0].hex()], "byte strings"),
        ({}, "a list of 1"),
    ):
        credential.value[1] = {17: disclosures}
        with pytest.raises(DecodeError, match=why):
            verified(bound(credential))
    others: list[object] = [{4: b"x"}, [], {17: own, 4: b""}]
    for unprotected in others:
        credential.value[1] = unprotected
        with pytest.raises(DecodeError, match="disclosures and nothing else"):
            verified(bound(credential))


def _credential(payload: bytes, disclosures: list[bytes], protected: object = None) -> Tag:
    header = {1: -19, 4: ISSUER.public, 16: 293} if protected is None else protected
    return with_parts(ISSUER, header, {17: disclosures} if disclosures else {}, payload)


BASE: dict[int | str, object] = CLAIMS | {8: {1: {1: 1, -1: 6, -2: HOLDER.public}}}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([SALTS[0], "x", "schema"], "there twice"),
        ([SALTS[0], 1, 4], "may not be redacted"),
        ([SALTS[0], {}, 8], "may not be redacted"),
        ([SALTS[0], {}, 65535], "may not be redacted"),
        ([SALTS[0], "x"], "a list of salt"),
        ([SALTS[0][:15], "x", "y"], "16 bytes"),
        ([SALTS[0], "x", b"y"], "integer or a text"),
        ([SALTS[0], "x", True], "integer or a text"),
        ([SALTS[0], [Tag(60, b"x")], "y"], "deeper inside"),
        ([SALTS[0], {"a": Simple(59)}, "y"], "deeper inside"),
    ],
)
def test_even_the_issuer_cannot_hide_what_may_not_be_hidden(parts: Any, why: str) -> None:
    disclosure = cbor.encode(parts)
    credential = _credential(sd_cwt._payload(BASE, [sd_cwt._hash(disclosure)]), [disclosure])
    with pytest.raises(DecodeError, match=why):
        verified(bound(credential))


def test_other_shapes_of_the_payload_are_refused() -> None:
    hashed = bytes(32)
    good = sd_cwt._payload(BASE, [hashed])
    assert set(verified(bound(_credential(good, []))).claims) == set(BASE)
    for payload, why in (
        (sd_cwt._payload(BASE, [hashed, hashed]), "twice"),
        (cbor.encode({8: BASE[8]}), "names its issuer"),
        (cbor.encode({1: "x"}), "names its issuer"),
        (cbor.encode([]), "a map"),
        (good[:-1] + b"", "byte"),
        (b"\xb8" + bytes([good[0] & 31]) + good[1:], "one encoding"),
        (good[:-35] + b"\x81\x58\x1f" + bytes(31), "byte"),
        (cbor.encode(BASE | {"x": Tag(60, hashed)}), "deeper"),
        (good.replace(b"\xf8\x3b", b"\xf8\x3c"), "byte"),
    ):
        with pytest.raises(DecodeError, match=why):
            verified(bound(_credential(payload, [])))


@pytest.mark.parametrize("count", [1, 19, 20, 21, 32])
def test_any_number_of_claims_survives_the_key_that_cbor_has_no_room_for(count: int) -> None:
    redacted: dict[int | str, object] = {f"claim {number}": number for number in range(count)}
    salts = [bytes([number]) * 16 for number in range(count)]
    claims = CLAIMS | {100 + number: number for number in range(count)}
    data = sd_cwt.issue(claims, redacted, HOLDER.public, ISSUER, salts)
    presented = verified(sd_cwt.present(data, list(redacted), HOLDER, SITE, NONCE, NOW_MS))
    assert presented.claims == claims | redacted | {8: BASE[8]}
    foreign = cbor2.loads(cbor2.loads(data).value[2])
    assert len(foreign[cbor2.CBORSimpleValue(59)]) == count


@pytest.mark.parametrize(
    "change",
    [
        {"header": {1: -8}},
        {"header": {1: -19.0}},
        {"header": {16: 293}},
        {"header": {16: "kb+cwt"}},
        {"header": {4: b"x"}},
        {"header": {13: b"x"}},
        {"header": {13: Tag(17, [])}},
        {"unprotected": {17: []}},
        {"claims": {4: 1}},
        {"claims": {2: "x"}},
        {"claims": {39: b""}},
        {"claims": {6: "x"}},
    ],
)
def test_another_key_binding_token_is_refused(change: Any) -> None:
    credential: Any = cbor.decode(issued())
    with pytest.raises(DecodeError):
        verified(bound(credential, **change))


def test_it_is_not_shown_outside_of_its_own_time() -> None:
    assert refused(shown(now_ms=1_725_244_199_000), now_ms=1_725_244_200_000) == "early"
    late = 1_725_330_601_000
    assert refused(shown(now_ms=late), now_ms=late) == "expired"


def test_a_credential_for_one_audience_is_for_no_other() -> None:
    data = sd_cwt.issue(CLAIMS | {3: "did:cpc:zElse"}, {}, HOLDER.public, ISSUER, [])
    assert refused(shown(data=data)) == "audience"


def test_issuing_nonsense_is_the_callers_mistake() -> None:
    cases: tuple[tuple[Any, list[bytes], str], ...] = (
        ({"a": 1, "b": 2}, [SALTS[0]], "one salt"),
        ({"a": 1, "b": 2}, [SALTS[0], SALTS[0]], "one salt"),
        ({"a": 1}, [b"short"], "16 bytes"),
        ({4: 1}, SALTS[:1], "may not"),
        ({"schema": 1}, SALTS[:1], "twice"),
        ({1.5: 1}, SALTS[:1], "integer or a text|key"),
    )
    for redacted, salts, why in cases:
        with pytest.raises((ValueError, TypeError), match=why):
            sd_cwt.issue(CLAIMS, redacted, HOLDER.public, ISSUER, salts)
    with pytest.raises(ValueError, match="no redacted claim"):
        shown("colour")


@given(st.binary(max_size=120))
@settings(deadline=None, max_examples=200)
def test_garbage_is_refused_as_such(data: bytes) -> None:
    for raw in (data, b"\xd2\x84" + data):
        with pytest.raises((DecodeError, SignatureError)):
            verified(raw)
        with pytest.raises((DecodeError, SignatureError)):
            sd_cwt.open_credential(raw)


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    data = shown("plug")
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PufError):
            verified(bytes(damaged))
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            verified(data[:size])


def test_micropython_comes_to_the_same_verdict() -> None:
    data = shown("plug")
    code = (
        "from puf import sd_cwt\nfrom puf.errors import PufError\n"
        f"data = bytes.fromhex('{data.hex()}')\n"
        f"issuers = [bytes.fromhex('{ISSUER.public.hex()}')]\ndef look(nonce):\n"
        f"    return sd_cwt.verify_presentation(data, issuers, '{SITE}', nonce, {NOW_MS})\n"
        f"print(look({NONCE!r}).claims['plug'])\n"
        "try:\n    look(b'x' * 16)\nexcept PufError as error:\n    print(error.reason)\n"
    )
    assert micropython.run(code) == "CCS2\nnonce\n"


# The wire format.  Changing it is a line in CHANGELOG.md.
GOLDEN_ISSUED = (
    "d284582aa30132045820e34d3a01b6112e1429ead61668405f4ef4be4f8853abee5079d28ac6c13ffdd010190125a111"
    "8358298350020202020202020202020202020202026d44452a4142432a31323334353668636f6e747261637458208350"
    "0303030303030303030303030303030367422d585920373765706c617465581c83500101010101010101010101010101"
    "0101644343533264706c756758c1a6016f6469643a6370633a7a497373756572041a66d674a8061a66d5232808a101a3"
    "0101200621582054b0d81d0fa7d00e4a7d600dfaba6f2b22035b22fe335e17edf5f9aa5bb0507466736368656d616776"
    "656869636c65f83b83582006f313b7e3f96a388cd3b74fb0598cde9896049842f52119b65eaceea2864a0f582035a0ad"
    "e566acbe2ab5d89afbeebb355f8d2ebaf8fa946f2d6893a6c8f5aca3bd58203bd959a063797c8eba2a67387c4a06a99c"
    "060f9cc2085fd26e094571766aad4c58401de5ec644453537b58a6cb20faf960a6715ae77dc0a0d24e2671518ca37c74"
    "26d2841afe258eed64b5d90ce893a79b2822e709fb6d1efb5a8de7df664583b60a"
)
GOLDEN_SHOWN = (
    "d28459015ca301320dd284582aa30132045820e34d3a01b6112e1429ead61668405f4ef4be4f8853abee5079d28ac6c1"
    "3ffdd010190125a11181581c835001010101010101010101010101010101644343533264706c756758c1a6016f646964"
    "3a6370633a7a497373756572041a66d674a8061a66d5232808a101a30101200621582054b0d81d0fa7d00e4a7d600dfa"
    "ba6f2b22035b22fe335e17edf5f9aa5bb0507466736368656d616776656869636c65f83b83582006f313b7e3f96a388c"
    "d3b74fb0598cde9896049842f52119b65eaceea2864a0f582035a0ade566acbe2ab5d89afbeebb355f8d2ebaf8fa946f"
    "2d6893a6c8f5aca3bd58203bd959a063797c8eba2a67387c4a06a99c060f9cc2085fd26e094571766aad4c58401de5ec"
    "644453537b58a6cb20faf960a6715ae77dc0a0d24e2671518ca37c7426d2841afe258eed64b5d90ce893a79b2822e709"
    "fb6d1efb5a8de7df664583b60a10190126a05829a3036d6469643a6370633a7a53697465061a66d5234d1827506e6e6e"
    "6e6e6e6e6e6e6e6e6e6e6e6e6e5840fa88bbfb2a975ba7100f557ca3fd20c93a84789175c7319dfb7e274e8c9402018a"
    "831567ac28c3c45f16c637fdbbd3ff5dca5e4e8299aa3f82b1fd5b8b9cdb00"
)
