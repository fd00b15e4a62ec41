"""EDHOC as stories: who gets a session and, of everything that can happen on the way, who does not."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puf import cbor, edhoc, edhoc_credential, edhoc_keys, edhoc_messages
from puf.edhoc import Endpoint, Identity, Initiator, Responder
from puf.edhoc_credential import Credential
from puf.edhoc_messages import Ead
from puf.errors import DecodeError, EdhocError, EdhocRefused, KeyFormatError
from puf.x25519 import public_of
from tests.micropython import run, start
from tests.puf import edhoc_role
from tests.puf.edhoc_role import make
from tests.puf.test_x25519 import LOW_ORDER

ROLE = Path(__file__).with_name("edhoc_role.py")
STRANGER = edhoc_credential.make(public_of(bytes([9]) * 32), b"\x2b")


def pair(has_message_4: bool = True) -> tuple[Initiator, Responder]:
    """A vehicle and a device that know each other."""
    initiator, responder = (make(role, False, has_message_4) for role in ("initiator", "responder"))
    assert isinstance(initiator, Initiator)
    assert isinstance(responder, Responder)
    return initiator, responder


def talk(initiator: Initiator, responder: Responder) -> list[bytes]:
    """The messages of a handshake that succeeds, in order."""
    said = [initiator.start()]
    parties: list[Endpoint] = [responder, initiator]
    while said[-1]:
        said.append(parties[(len(said) - 1) % 2].receive(said[-1]))
    assert initiator.session is not None
    assert responder.session is not None
    assert initiator.session.exporter(0) == responder.session.exporter(0)
    return said[:-1]


def states(initiator: Initiator, responder: Responder) -> tuple[str, str]:
    return initiator.state, responder.state


# What goes well


# The wire format, of fixed keys.  Changing it is a line in CHANGELOG.md.
GOLDEN = [
    "030058205dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef2237",
    "582bac01b2209e86354fb853237b5de0f4fab13c7fcbf433a61c019369617fecf10ba6b775454d0ed4f484c177",
    "52dd500819995f338b03dd100d7b5b04a22b87",
    "480ab7bdee5cc4de2f",
]


def test_the_messages_of_fixed_keys_stay_what_they_are() -> None:
    assert [message.hex() for message in talk(*pair())] == GOLDEN


def test_a_handshake_takes_three_messages_and_at_most_120_bytes() -> None:
    initiator, responder = pair(has_message_4=False)
    said = talk(initiator, responder)
    assert [len(message) for message in said] == [37, 45, 19]
    assert sum(map(len, said)) == 101 <= 120
    assert states(initiator, responder) == ("done", "done")


def test_key_ids_of_eight_bytes_still_fit_into_120_bytes() -> None:
    vehicle, device = bytes([1]) * 32, bytes([2]) * 32
    a = edhoc_credential.make(public_of(vehicle), b"vehicle1")
    b = edhoc_credential.make(public_of(device), b"device-1")
    initiator = Initiator(Identity(a, vehicle), edhoc.known(b), b"\x00", bytes([3]) * 32)
    responder = Responder(Identity(b, device), edhoc.known(a), b"\x01", bytes([4]) * 32)
    assert sum(map(len, talk(initiator, responder))) == 118


def test_the_states_of_both_follow_the_table() -> None:
    initiator, responder = pair()
    seen = [states(initiator, responder)]
    message = initiator.start()
    seen.append(states(initiator, responder))
    for party in (responder, initiator, responder, initiator):
        message = party.receive(message)
        seen.append(states(initiator, responder))
    assert seen == [
        ("idle", "awaits message_1"),
        ("awaits message_2", "awaits message_1"),
        ("awaits message_2", "awaits message_3"),
        ("awaits message_4", "awaits message_3"),
        ("awaits message_4", "done"),
        ("done", "done"),
    ]
    assert initiator.session is not None
    assert responder.session is not None
    assert (initiator.session.own_id, initiator.session.peer_id) == (b"\x37", b"\x27")
    assert (responder.session.own_id, responder.session.peer_id) == (b"\x27", b"\x37")
    assert initiator.session.peer == responder.identity.credential
    assert responder.session.peer == initiator.identity.credential


def test_without_message_4_the_vehicle_is_done_with_message_3() -> None:
    initiator, responder = pair(has_message_4=False)
    initiator.receive(responder.receive(initiator.start()))
    assert states(initiator, responder) == ("done", "awaits message_3")


@settings(max_examples=60, deadline=None)
@given(
    secrets=st.lists(st.binary(min_size=32, max_size=32), min_size=4, max_size=4, unique=True),
    ids=st.lists(st.binary(max_size=12), min_size=4, max_size=4),
    by_value=st.tuples(st.booleans(), st.booleans()),
    has_message_4=st.booleans(),
    subject=st.text(st.characters(codec="utf-8"), max_size=40),
    items=st.dictionaries(
        st.integers(1, 4),
        st.lists(
            st.tuples(st.integers(0, 70000), st.none() | st.binary(max_size=20), st.booleans()), max_size=3
        ),
    ),
)
def test_whoever_they_are_and_whatever_they_send_along_both_get_one_session(
    secrets: list[bytes],
    ids: list[bytes],
    by_value: tuple[bool, bool],
    has_message_4: bool,
    subject: str,
    items: dict[int, list[tuple[int, bytes | None, bool]]],
) -> None:
    if public_of(secrets[0]) == public_of(secrets[1]) or public_of(secrets[2]) == public_of(secrets[3]):
        return
    a = edhoc_credential.make(public_of(secrets[0]), ids[0], subject)
    b = edhoc_credential.make(public_of(secrets[1]), ids[1], subject)
    ead = {
        number: tuple(Ead(label, value, critical and label > 0) for label, value, critical in some)
        for number, some in items.items()
    }
    labels = tuple({item.label for some in ead.values() for item in some})
    arguments = ((edhoc_keys.SUITE_0,), ead, labels, has_message_4)
    initiator = Initiator(
        Identity(a, secrets[0], by_value[0]), edhoc.known(b), ids[2], secrets[2], *arguments
    )
    responder = Responder(
        Identity(b, secrets[1], by_value[1]), edhoc.known(a), ids[3], secrets[3], *arguments
    )
    talk(initiator, responder)
    for number, some in ead.items():
        if number < 4 or has_message_4:
            receiver = (responder, initiator)[(number + 1) % 2]
            assert receiver.received[number] == tuple(item for item in some if item.label)
    assert initiator.session is not None
    assert initiator.session.peer == b


def test_of_two_keys_with_one_key_id_the_right_one_is_found() -> None:
    initiator, responder = pair()
    real = initiator.identity.credential
    responder._peers = edhoc.known(STRANGER, real)
    talk(initiator, responder)
    assert responder.session is not None
    assert responder.session.peer == real


def test_key_updates_keep_both_together_and_lead_nowhere_back() -> None:
    initiator, responder = pair()
    talk(initiator, responder)
    one, other = initiator.session, responder.session
    assert one is not None
    assert other is not None
    seen = {one.exporter(edhoc_keys.RESUMPTION)}
    for context in (b"", b"1", b"2"):
        one.key_update(context)
        assert one.exporter(edhoc_keys.RESUMPTION) != other.exporter(edhoc_keys.RESUMPTION)
        other.key_update(context)
        seen.add(one.exporter(edhoc_keys.RESUMPTION))
        assert other.exporter(edhoc_keys.RESUMPTION) in seen
    assert len(seen) == 4
    assert one.exporter(32768, b"a") != one.exporter(32768, b"b") != one.exporter(32769, b"b")
    with pytest.raises(ValueError, match="0 to 65535, not 65536"):
        one.exporter(65536)


# What is refused


def test_every_flipped_bit_and_every_truncation_ends_the_handshake() -> None:
    said = talk(*pair())
    count = 0
    for number, message in enumerate(said):
        damaged = [message[:size] for size in range(len(message))] + [message + b"\x00", message + message]
        damaged += [
            bytes(byte ^ (at == index) << bit for index, byte in enumerate(message))
            for at in range(len(message))
            for bit in range(8)
        ]
        for data in damaged:
            initiator, responder = pair()
            parties: list[Endpoint] = [responder, initiator]
            initiator.start()
            for index in range(number):
                parties[index % 2].receive(said[index])
            receiver, other = parties[number % 2], parties[(number + 1) % 2]
            is_done = other.session is not None
            with pytest.raises(EdhocError) as refused:
                # A changed message_1 may be another good one: then message_2 does not fit what was sent.
                other.receive(receiver.receive(data))
            assert receiver.session is None
            assert (other.session is not None) == is_done
            assert refused.value.answer or isinstance(refused.value, EdhocRefused)
            count += 1
    assert count > 900


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=80), wrap=st.booleans(), step=st.integers(0, 3))
def test_garbage_ends_the_handshake_and_says_so(data: bytes, wrap: bool, step: int) -> None:
    initiator, responder = pair()
    parties: list[Endpoint] = [responder, initiator]
    message = initiator.start()
    for index in range(step):
        message = parties[index % 2].receive(message)
    party = parties[step % 2]
    with pytest.raises(EdhocError):
        party.receive(cbor.encode(data) if wrap else data)
    assert party.state == "failed"
    assert party.session is None
    with pytest.raises(EdhocError, match="the handshake is failed"):
        party.receive(message)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60))
def test_decoders_take_any_bytes_or_refuse_them(data: bytes) -> None:
    decoders: list[Callable[[bytes], object]] = [
        edhoc_messages.decode_1,
        edhoc_messages.decode_bytes,
        lambda raw: edhoc_messages.decode_plaintext(raw, True),
        lambda raw: edhoc_messages.decode_plaintext(raw, False),
        edhoc_messages.decode_plaintext_4,
        edhoc_credential.parse,
    ]
    for decode in decoders:
        with contextlib.suppress(DecodeError):
            decode(data)
    edhoc_messages.decode_error(data)


def test_a_suite_in_common_is_found_and_without_one_there_is_none() -> None:
    ours = (edhoc_keys.SUITE_0,)
    assert edhoc.select(ours, (2, 0)) == 0
    assert edhoc.select(ours, (2, 3)) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_an_ephemeral_key_of_another_length_is_our_own_mistake(size: int) -> None:
    own = edhoc_credential.make(public_of(bytes([1]) * 32), b"\x01", "me")
    with pytest.raises(ValueError, match="32 random bytes"):
        Initiator(Identity(own, bytes([1]) * 32), edhoc.known(own), b"\x00", bytes(size))


def test_a_message_is_taken_once_and_in_its_turn() -> None:
    initiator, responder = pair()
    with pytest.raises(EdhocError, match="the handshake is idle"):
        initiator.receive(b"")
    said = talk(initiator, responder)
    for party, message in ((responder, said[2]), (initiator, said[1]), (initiator, said[3])):
        with pytest.raises(EdhocError, match="the handshake is done"):
            party.receive(message)
        assert party.session is not None
    with pytest.raises(EdhocError, match="starts once"):
        initiator.start()
    initiator, responder = pair()
    initiator.start()
    with pytest.raises(EdhocError, match="message_2: "):
        initiator.receive(said[3])


def test_a_replayed_vehicle_gets_nowhere() -> None:
    said = talk(*pair())
    _, responder = pair()
    # The device's next meeting has another ephemeral key.
    responder._ephemeral = bytes([5]) * 32
    assert responder.receive(said[0]) != said[1]
    with pytest.raises(EdhocError, match="message_3: the tag is wrong"):
        responder.receive(said[2])
    assert responder.session is None


def test_own_messages_that_come_back_are_refused() -> None:
    initiator, _ = pair()
    with pytest.raises(EdhocError, match="message_2: the message is not one byte string"):
        initiator.receive(initiator.start())
    initiator, responder = pair()
    message_2 = responder.receive(initiator.start())
    with pytest.raises(EdhocError, match="message_3: the tag is wrong"):
        responder.receive(message_2)
    initiator, _ = pair()
    initiator.start()
    with pytest.raises(EdhocError, match="our own ephemeral key came back"):
        initiator.receive(cbor.encode(public_of(bytes([3]) * 32) + bytes(11)))


def test_nobody_meets_itself() -> None:
    key = bytes([1]) * 32
    own = edhoc_credential.make(public_of(key), b"\x2b")
    initiator = Initiator(Identity(own, key), edhoc.known(own), b"\x00", bytes([3]) * 32)
    responder = Responder(Identity(own, key), edhoc.known(own), b"\x01", bytes([4]) * 32)
    with pytest.raises(EdhocError, match="the peer shows our own key"):
        initiator.receive(responder.receive(initiator.start()))


def test_strangers_are_told_that_they_are_strangers() -> None:
    initiator, responder = pair()
    responder._peers = edhoc.known()
    message_3 = initiator.receive(responder.receive(initiator.start()))
    with pytest.raises(EdhocError, match="message_3: the peer is not known here; enrol it first") as refused:
        responder.receive(message_3)
    assert refused.value.answer == b"\x03\xf5"
    with pytest.raises(EdhocRefused) as told:
        initiator.receive(refused.value.answer)
    assert (told.value.code, told.value.answer, initiator.state) == (3, b"", "failed")


@pytest.mark.parametrize("by_value", [False, True])
def test_an_impostor_with_the_right_name_and_another_key_is_refused(by_value: bool) -> None:
    initiator, responder = pair()
    real = initiator.identity.credential
    initiator.identity = Identity(real, bytes([9]) * 32, by_value)
    message_3 = initiator.receive(responder.receive(initiator.start()))
    with pytest.raises(
        EdhocError, match="message_3: the peer did not prove that it holds its key"
    ) as refused:
        responder.receive(message_3)
    assert refused.value.answer == b"\x01\x69message_3"
    initiator, responder = pair()
    responder.identity = Identity(responder.identity.credential, bytes([9]) * 32, by_value)
    message_2 = responder.receive(initiator.start())
    with pytest.raises(EdhocError, match="message_2: the device did not prove that it holds its key"):
        initiator.receive(message_2)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_critical_items_that_are_not_known_end_the_handshake_and_others_do_not(number: int) -> None:
    for item, is_refused in (
        (Ead(7, b"x", True), True),
        (Ead(7, b"x", False), False),
        (Ead(0, b"pad", False), False),
    ):
        initiator, responder = pair()
        initiator._ead = responder._ead = {number: (item,)}
        if is_refused:
            with pytest.raises(EdhocError, match=f"message_{number}: EAD item 7 is critical"):
                talk(initiator, responder)
        else:
            talk(initiator, responder)
            assert (responder, initiator)[(number + 1) % 2].received[number] == ()
    with pytest.raises(ValueError, match="padding is never critical"):
        edhoc_messages.encode_ead((Ead(0, b"", True),))


@pytest.mark.parametrize("public", LOW_ORDER)
def test_points_of_low_order_are_refused(public: bytes) -> None:
    _, responder = pair()
    with pytest.raises(EdhocError, match=r"message_1: .* low order"):
        responder.receive(edhoc_messages.encode_1((0,), public, b"\x00", b""))
    initiator, _ = pair()
    initiator.start()
    with pytest.raises(EdhocError, match=r"message_2: .* low order"):
        initiator.receive(cbor.encode(public + bytes(11)))


def test_a_suite_the_device_lacks_or_one_it_likes_less_is_answered_with_its_suites() -> None:
    for suites in ((2,), (2, 3), (0, 2), (0, 0)):
        _, responder = pair()
        with pytest.raises(EdhocError) as refused:
            responder.receive(edhoc_messages.encode_1(suites, bytes([9]) * 32, b"\x00", b""))
        assert refused.value.answer == b"\x02\x00"
    _, responder = pair()
    assert responder.receive(edhoc_messages.encode_1((6, 0), bytes([9]) * 32, b"\x00", b""))


def test_an_error_message_is_never_answered() -> None:
    for answer, code, suites in (
        (b"\x01\x61x", 1, ()),
        (b"\x02\x82\x02\x03", 2, (2, 3)),
        (b"\x18\x63\xf6", 99, ()),
    ):
        initiator, _ = pair()
        initiator.start()
        with pytest.raises(EdhocRefused) as told:
            initiator.receive(answer)
        assert (told.value.code, told.value.suites, told.value.answer) == (code, suites, b"")


def test_a_chip_that_does_not_reproduce_its_key_ends_the_handshake() -> None:
    class ChipError(Exception):
        pass

    def fail() -> bytes:
        raise ChipError

    initiator, responder = pair()
    responder.identity = Identity(responder.identity.credential, fail)
    with pytest.raises(ChipError):
        responder.receive(initiator.start())
    assert responder.state == "failed"
    assert responder._ephemeral == responder._prk_2e == b"", "what led so far is let go"
    responder.identity = Identity(responder.identity.credential, lambda: b"short")
    with pytest.raises(ValueError, match="a private key is 32 bytes"):
        responder.identity.private()


def test_nothing_printed_shows_a_secret() -> None:
    initiator, responder = pair()
    talk(initiator, responder)
    shown = repr(initiator) + repr(responder) + repr(initiator.session) + repr(initiator.identity)
    for secret in (edhoc_role.VEHICLE, edhoc_role.DEVICE, bytes([3]) * 32, bytes([4]) * 32):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert initiator.session is not None
    assert initiator.session._prk_out.hex() not in shown


def test_no_product_on_the_curve_is_computed_before_message_1() -> None:
    def never(*_: bytes) -> bytes:
        raise AssertionError("curve work")

    suite = edhoc_keys.SUITE_0._replace(exchange=never, public_of=never)
    key = edhoc_credential.make(public_of(bytes([1]) * 32), b"\x2b")
    for data in (b"", b"\x03\x02\x58\x20" + bytes(32) + b"\x00", b"\x03\x00\x58\x1f" + bytes(31) + b"\x00"):
        responder = Responder(Identity(key, never), edhoc.known(), b"\x01", bytes(32), (suite,))
        with pytest.raises(EdhocError):
            responder.receive(data)


# Credentials


def test_a_credential_is_the_ccs_of_the_rfc() -> None:
    credential = edhoc_credential.make(bytes(32), b"\x00", "42-50-31-FF-EF-37-32-39")
    assert credential.ccs.hex() == (
        "a2027734322d35302d33312d46462d45462d33372d33322d333908a101a40101024100200421582" + "0" + "00" * 32
    )
    assert edhoc_credential.parse(credential.ccs) == credential
    with pytest.raises(KeyFormatError):
        edhoc_credential.make(bytes(31), b"\x00")


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ([1], "a CCS is a map"),
        ({2: "x"}, "confirms one COSE_Key"),
        ({8: {1: {}, 2: 1}}, "confirms one COSE_Key"),
        ({8: {1: {1: 1, -1: 4, -2: bytes(32), -4: bytes(32)}}}, "shows its private part"),
        ({8: {1: {1: 2, -1: 1, -2: bytes(32)}}}, "of another curve"),
        ({8: {1: {1: True, -1: 4, -2: bytes(32)}}}, "of another curve"),
        ({8: {1: {1: 1, -1: 4, -2: bytes(31)}}}, "has not 32 bytes"),
        ({8: {1: {1: 1, 2: 7, -1: 4, -2: bytes(32)}}}, "the key id is not a byte string"),
        ({2: 7, 8: {1: {1: 1, -1: 4, -2: bytes(32)}}}, "the subject is not text"),
    ],
)
def test_what_is_no_such_credential_is_refused(claims: object, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        edhoc_credential.parse(cbor.encode(claims))


def test_a_credential_without_a_key_id_travels_by_value_only() -> None:
    claims = {8: {1: {1: 1, -1: 4, -2: public_of(bytes([1]) * 32)}}}
    credential = edhoc_credential.parse(cbor.encode(claims))
    assert credential.kid is None
    with pytest.raises(ValueError, match="only travel by value"):
        Identity(credential, bytes([1]) * 32)
    initiator, responder = pair()
    initiator.identity = Identity(credential, bytes([1]) * 32, True)

    def first_contact(named: edhoc_credential.Named) -> tuple[Credential, ...]:
        return (edhoc_credential.parse(named.ccs),) if named.ccs else ()

    responder._peers = first_contact
    talk(initiator, responder)


def test_identifiers_have_one_spelling() -> None:
    for byte in range(256):
        encoded = edhoc_credential.encode_id(bytes((byte,)))
        assert edhoc_credential.decode_id(cbor.decode(encoded)) == bytes((byte,))
        assert (len(encoded) == 1) == (byte < 0x18 or 0x20 <= byte < 0x38)
    for item in (24, -25, True, None, "x", b"\x00", b"\x37", [1]):
        with pytest.raises(DecodeError):
            edhoc_credential.decode_id(item)


# Both interpreters


def _asked(role: str, by_value: bool, has_message_4: bool) -> dict[str, object]:
    said = talk(*[make(name, by_value, has_message_4) for name in ("initiator", "responder")])  # type: ignore[arg-type]
    others = said[1::2] if role == "initiator" else said[0::2]
    return {
        "role": role,
        "by_value": by_value,
        "message_4": has_message_4,
        "messages": [message.hex() for message in others],
    }


@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize(("by_value", "has_message_4"), [(False, False), (True, True)])
def test_micropython_says_the_same_bytes(role: str, by_value: bool, has_message_4: bool) -> None:
    asked = _asked(role, by_value, has_message_4)
    there, here = json.loads(run(ROLE, stdin=json.dumps(asked))), edhoc_role.main(asked)
    for name in ("sent", "exported", "updated"):
        assert there[name] == here[name]


def test_each_role_fits_into_less_than_the_heap_of_a_board(capsys: pytest.CaptureFixture[str]) -> None:
    for role in ("initiator", "responder"):
        stdin = json.dumps(_asked(role, False, False))
        low, high = 16, 128
        while high - low > 4:
            middle = (low + high) // 2
            if start(ROLE, stdin=stdin, heap_size=f"{middle}k").returncode == 0:
                high = middle
            else:
                low = middle
        there = json.loads(run(ROLE, stdin=stdin))
        with capsys.disabled():
            spent = " + ".join(f"{ms:.1f}" for ms in there["ms"])
            print(
                f"\nmicropython, {role}: {spent} ms; {there['code_bytes']} bytes of code and tables, "
                f"{there['held_bytes']} held; smallest heap {high} KiB"
            )
        assert high <= 112
