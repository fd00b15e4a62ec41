"""The traces of RFC 9529: all messages of trace 2, the key schedule of trace 1, and what must be refused."""

import pytest

from puf import aes_ccm, edhoc, edhoc_credential, edhoc_keys, edhoc_messages
from puf.edhoc import Identity, Initiator, Responder
from puf.errors import DecodeError, EdhocError, EdhocRefused
from puf.hkdf import sha256
from puf.x25519 import PrivateKey
from tests.puf.edhoc_vectors import SUITE_2, SUITE_6, Section, sections, trace

PARTY = {"I": "Initiator", "R": "Responder"}


def _identity(found: Section, letter: str) -> Identity:
    credential = edhoc_credential.parse(found[f"CRED_{letter} (CBOR Data Item)"], SUITE_2)
    role = PARTY[letter]
    assert credential.public == found[f"{role}'s public authentication key, 'x'-coordinate (Raw Value)"]
    return Identity(credential, found[f"{role}'s private authentication key SK_{letter} (Raw Value)"])


def _initiator(found: Section, ephemeral: bytes, selected: int) -> Initiator:
    return Initiator(
        _identity(found, "I"),
        edhoc.known(_identity(found, "R").credential),
        found["Connection identifier chosen by Initiator C_I (Raw Value)"],
        ephemeral,
        (SUITE_6, SUITE_2),
        has_message_4=True,
        selected=selected,
    )


def _responder(found: Section) -> Responder:
    return Responder(
        _identity(found, "R"),
        edhoc.known(_identity(found, "I").credential),
        found["Connection identifier chosen by Responder C_R (raw value)"],
        found["Responder's ephemeral private key Y (Raw Value)"],
        (SUITE_2,),
        has_message_4=True,
    )


def test_every_message_of_trace_2_comes_out_byte_for_byte() -> None:
    found = trace(2)
    initiator = _initiator(found, found["Initiator's ephemeral private key X (Raw Value)"], 1)
    responder = _responder(found)
    message_1 = initiator.start()
    message_2 = responder.receive(message_1)
    message_3 = initiator.receive(message_2)
    message_4 = responder.receive(message_3)
    assert initiator.receive(message_4) == b""
    for number, message in enumerate((message_1, message_2, message_3, message_4), 1):
        assert message == found[f"message_{number} (CBOR Sequence)"], number
    for session in (initiator.session, responder.session):
        assert session is not None
        assert session.exporter(0, b"", 16) == found["OSCORE Master Secret (Raw Value)"]
        assert session.exporter(1, b"", 8) == found["OSCORE Master Salt (Raw Value)"]
        session.key_update(found["context for KeyUpdate (Raw Value)"])
        assert session.exporter(0, b"", 16) == found["OSCORE Master Secret after KeyUpdate (Raw Value)"]
        assert session.exporter(1, b"", 8) == found["OSCORE Master Salt after KeyUpdate (Raw Value)"]


def test_the_suites_of_trace_2_are_negotiated() -> None:
    found = trace(2)
    first = next(blocks for title, blocks in sections().items() if title.endswith("message_1 (first time)"))
    initiator = _initiator(found | first, first["Initiator's ephemeral private key X (Raw Value)"], 0)
    message_1 = initiator.start()
    assert message_1 == first["message_1 (CBOR Sequence)"]
    with pytest.raises(EdhocError) as refused:
        _responder(found).receive(message_1)
    assert refused.value.answer == found["error (CBOR Sequence)"]
    with pytest.raises(EdhocRefused) as told:
        initiator.receive(refused.value.answer)
    assert (told.value.code, told.value.suites) == (2, (2,))
    assert edhoc.select((SUITE_6, SUITE_2), told.value.suites) == 1
    assert edhoc.select((SUITE_6,), told.value.suites) is None


@pytest.mark.parametrize("number", [1, 2])
def test_transcripts_and_keys_of_both_traces(number: int) -> None:
    found = trace(number)

    def of(name: str) -> bytes:
        return found[f"{name} (Raw Value)"]

    g_y = next(found[name] for name in found if name.endswith("G_Y (Raw Value)"))
    message_1, plaintext_2 = found["message_1 (CBOR Sequence)"], found["PLAINTEXT_2 (CBOR Sequence)"]
    plaintext_3 = found["PLAINTEXT_3 (CBOR Sequence)"]
    assert sha256(message_1) == of("H(message_1)")
    assert edhoc_keys.transcript_2(g_y, message_1) == of("TH_2")
    prk_2e = edhoc_keys.extract_first(of("TH_2"), found["G_XY (Raw Value) (ECDH shared secret)"])
    assert prk_2e == of("PRK_2e")
    stream = edhoc_keys.kdf(prk_2e, edhoc_keys.KEYSTREAM_2, of("TH_2"), len(plaintext_2))
    assert stream == of("KEYSTREAM_2")
    if number == 2:
        assert edhoc_keys.kdf(prk_2e, edhoc_keys.SALT_3E2M, of("TH_2")) == of("SALT_3e2m")
        assert edhoc_keys.kdf(of("PRK_3e2m"), edhoc_keys.SALT_4E3M, of("TH_3")) == of("SALT_4e3m")
        for secret, label, result, th in (("G_RX", 1, "PRK_3e2m", "TH_2"), ("G_IY", 5, "PRK_4e3m", "TH_3")):
            shared = found[f"{secret} (Raw Value) (ECDH shared secret)"]
            before = prk_2e if label == 1 else of("PRK_3e2m")
            assert edhoc_keys.extract(before, label, of(th), shared) == of(result)
    for label, name, prk, context in (
        (2, "MAC_2", "PRK_3e2m", "context_2"),
        (6, "MAC_3", "PRK_4e3m", "context_3"),
    ):
        mac = of(name)
        assert edhoc_keys.kdf(of(prk), label, found[f"{context} (CBOR Sequence)"], len(mac)) == mac
    assert edhoc_keys.transcript_next(of("TH_2"), plaintext_2, found["CRED_R (CBOR Data Item)"]) == of("TH_3")
    assert edhoc_keys.transcript_next(of("TH_3"), plaintext_3, found["CRED_I (CBOR Data Item)"]) == of("TH_4")
    for step, plaintext, prk in ((3, plaintext_3, "PRK_3e2m"), (4, b"", "PRK_4e3m")):
        labels = (edhoc_keys.K_3, edhoc_keys.IV_3) if step == 3 else (edhoc_keys.K_4, edhoc_keys.IV_4)
        key = edhoc_keys.kdf(of(prk), labels[0], of(f"TH_{step}"), 16)
        nonce = edhoc_keys.kdf(of(prk), labels[1], of(f"TH_{step}"), 13)
        assert (key, nonce) == (of(f"K_{step}"), of(f"IV_{step}"))
        aad = edhoc_keys.aad(of(f"TH_{step}"))
        assert aad == found[f"A_{step} (CBOR Data Item)"]
        sealed = aes_ccm.seal(key, nonce, plaintext, aad)
        assert sealed == edhoc_messages.decode_bytes(found[f"message_{step} (CBOR Sequence)"])
    session = edhoc_keys.Session(of("PRK_4e3m"), of("TH_4"), None, b"", b"")
    assert session.exporter(0, b"", 16) == of("OSCORE Master Secret")
    session.key_update(of("context for KeyUpdate"))
    assert session.exporter(1, b"", 8) == of("OSCORE Master Salt after KeyUpdate")


def test_the_curve_of_trace_1_is_that_of_suite_0() -> None:
    found = trace(1)
    x = PrivateKey(found["Initiator's ephemeral private key X (Raw Value)"])
    y = PrivateKey(found["Responder's ephemeral private key Y (Raw Value)"])
    shared = found["G_XY (Raw Value) (ECDH shared secret)"]
    g_y = found["Responder's ephemeral public key G_Y (Raw Value)"]
    assert (y.public, x.exchange(g_y), y.exchange(x.public)) == (g_y, shared, shared)
    assert edhoc_keys.SUITE_0.exchange(x.seed, g_y) == shared
    c_r = found["Connection identifier chosen by Responder C_R (Raw Value)"]
    assert edhoc_credential.encode_id(c_r) == bytes.fromhex("4118")


def test_every_invalid_message_of_rfc_9529_is_refused() -> None:
    found = trace(2)
    seen = 0
    for title, blocks in sections().items():
        for name, data in blocks.items():
            if name == "Invalid message_1":
                suites = (edhoc_keys.SUITE_0,) if "low order" in title else (SUITE_2,)
                responder = _responder(found)
                responder._suites = suites
                with pytest.raises(EdhocError, match="message_1: ") as refused:
                    responder.receive(data)
                assert refused.value.answer, title
                assert responder.state == edhoc.FAILED
            elif name == "Invalid message_2":
                initiator = _initiator(found, bytes(31) + b"\x01", 1)
                initiator.start()
                with pytest.raises(EdhocError, match="message_2: the message is not one byte string"):
                    initiator.receive(data)
            elif name == "Invalid PLAINTEXT_2":
                with pytest.raises(DecodeError):
                    edhoc_credential.decode_named(edhoc_messages.decode_plaintext(data, True)[1])
            else:
                continue
            seen += 1
    assert seen == 15
