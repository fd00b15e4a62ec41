"""The vectors of the other tests, under a real MicroPython with the heap of a board.

Each case goes, as one line, to `outcomes.py` there; what it prints must be what the vector demands and,
errors included, what CPython makes of the same line.
"""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from puf import cbor, cbor_pure, cose, did
from puf.ed25519 import SigningKey
from tests.micropython import run, start
from tests.puf import cbor_cases, test_cose, test_ed25519, test_hkdf, test_x25519, vectors
from tests.puf.outcomes import describe, outcome, to_line

Case = tuple[str, list[bytes]]
SCRIPT = Path(__file__).with_name("outcomes.py")
SMALLEST = Path(__file__).with_name("smallest.py")


def _hex(*texts: str) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def _on_both(cases: list[Case]) -> list[str]:
    """The outcomes under MicroPython, after they were found to be those under CPython."""
    there = run(SCRIPT, stdin="".join(to_line(*case) for case in cases)).splitlines()
    assert len(there) == len(cases)
    for case, outcome_there in zip(cases, there, strict=True):
        assert outcome_there == outcome(*case), f"{case[0]} {[arg.hex() for arg in case[1]]}"
    return there


def test_the_harness_sees_errors_and_the_small_heap() -> None:
    assert start("import sys; sys.exit(3)").returncode == 3
    assert "ZeroDivisionError" in start("1 / 0").stdout
    assert "MemoryError" in start("bytearray(200000)").stdout
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run("1 / 0")
    assert run("import sys; print(sys.argv[1], sys.stdin.read())", "word", stdin="text") == "word text\n"


def test_cbor_of_rfc_8949_and_all_that_is_refused() -> None:
    texts = [text for text, _ in cbor_cases.APPENDIX_A]
    expected = [describe(value) for _, value in cbor_cases.APPENDIX_A]
    bad = cbor_cases.APPENDIX_A_OTHERS + [text for _, text in cbor_cases.REFUSED]
    outcomes = _on_both([("cbor", _hex(text)) for text in texts + bad])
    assert outcomes[: len(texts)] == expected
    assert all(refused.startswith("DecodeError: byte ") for refused in outcomes[len(texts) :])


def test_cbor_deep_and_long_and_lying() -> None:
    deep = [bytes.fromhex(start) * 1000 + b"\x00" for start in ("81", "a100", "c4", "c2", "9f", "5f")]
    lying = [bytes.fromhex(start) + b"\x0f" + b"\xff" * 7 for start in ("5b", "7b", "9b", "bb", "c25b")]
    for refused in _on_both([("cbor", [data]) for data in deep + lying]):
        assert refused.startswith("DecodeError: byte ")
    nested = cbor.encode(cbor_cases.nest(64), 64)
    assert _on_both([("deep cbor", [nested]), ("deep cbor", [b"\x81" + nested])]) == [
        describe(cbor_cases.nest(64)),
        outcome("deep cbor", [b"\x81" + nested]),
    ]
    assert _on_both([("cbor", [cbor.encode(bytes(2000))])]) == [describe(bytes(2000))]


def test_cbor_floats_of_every_width() -> None:
    dice = random.Random(1)
    halves = [b"\xf9" + bits.to_bytes(2, "big") for bits in range(0, 1 << 16, 37)]
    singles = [b"\xfa" + dice.randbytes(4) for _ in range(500)]
    doubles = [b"\xfb" + dice.randbytes(8) for _ in range(500)]
    # Values that a narrower form can hold, in the wider one.
    widened = [b"\xfb" + cbor_cases.as_double(data) for data in halves[::20] + singles[::20]]
    outcomes = _on_both([("cbor", [data]) for data in halves + singles + doubles + widened])
    assert sum(out.startswith("float:") for out in outcomes) > 2000
    assert all(out.startswith("DecodeError") for out in outcomes[-len(widened) :])


def test_cbor_damaged_at_random() -> None:
    dice = random.Random(2)
    cases: list[Case] = []
    for number in range(1500):
        data = bytearray(cbor_pure.encode(_random_value(dice, 4)))
        if number % 3:
            data[dice.randrange(len(data))] = dice.randrange(256)
        cases.append(("cbor", [bytes(data)]))
    outcomes = _on_both(cases)
    refused = sum(out.startswith("DecodeError") for out in outcomes)
    assert 100 < refused < 1000


def _random_value(dice: random.Random, depth: int) -> object:
    kind = dice.randrange(9 if depth else 6)
    if kind == 0:
        return dice.choice([None, True, False, cbor.UNDEFINED, cbor.Simple(5), cbor.Simple(200)])
    if kind == 1:
        return dice.choice([1, -1]) * dice.getrandbits(dice.choice([3, 8, 16, 32, 64, 90]))
    if kind == 2:
        return dice.choice([0.5, 1e300, 0.1, float("inf"), float("nan"), -0.0])
    if kind == 3:
        return dice.randbytes(dice.randrange(30))
    if kind in (4, 5):
        return "".join(dice.choice("aé水\U00010151") for _ in range(dice.randrange(12)))
    if kind == 6:
        return [_random_value(dice, depth - 1) for _ in range(dice.randrange(5))]
    if kind == 7:
        keys = [dice.choice([dice.randrange(-40, 300), f"k{dice.randrange(99)}", b"k"]) for _ in range(4)]
        return {key: _random_value(dice, depth - 1) for key in keys}
    return cbor.Tag(dice.choice([0, 1, 18, 258, 1 << 40]), _random_value(dice, depth - 1))


def test_hashes_macs_and_keys() -> None:
    sizes = (0, 1, 55, 56, 63, 64, 65, 1000)
    _on_both([("sha256", [bytes(size)]) for size in sizes])
    macs = [("hmac", [key, data]) for key, data, _ in test_hkdf.RFC_4231]
    for out, (_, _, mac) in zip(_on_both(macs), test_hkdf.RFC_4231, strict=True):
        assert out.startswith("bytes:" + mac)
    keys = [("hkdf", [*case[:3], bytes((case[3],))]) for case in test_hkdf.RFC_5869]
    assert _on_both(keys) == ["bytes:" + case[5] for case in test_hkdf.RFC_5869]
    pairs = [(b"", b""), (b"secret", b"secret"), (b"secret", b"secreu"), (b"secret", b"secret\x00")]
    assert _on_both([("is_equal", [a, b]) for a, b in pairs]) == ["True", "True", "False", "False"]


def test_hmac_and_hkdf_of_wycheproof() -> None:
    tests = vectors.wycheproof("hmac_sha256")
    for out, (group, test) in zip(
        _on_both([("hmac", _hex(test["key"], test["msg"])) for _, test in tests]), tests, strict=True
    ):
        is_valid = out[6 : 6 + group["tagSize"] // 4] == test["tag"]
        assert is_valid == (test["result"] == "valid"), test
    tests = vectors.wycheproof("hkdf_sha256")
    cases = [
        ("hkdf", [*_hex(test["ikm"], test["salt"], test["info"]), test["size"].to_bytes(4, "big")])
        for _, test in tests
    ]
    for out, (_, test) in zip(_on_both(cases), tests, strict=True):
        if test["result"] == "valid":
            assert out == describe(bytes.fromhex(test["okm"])), test
        else:
            assert out == f"ValueError: HKDF gives 0 to 8160 bytes, not {test['size']}"


def test_signatures_of_rfc_8032() -> None:
    outcomes = _on_both([("sign", _hex(seed, message)) for seed, _, message, _ in test_ed25519.RFC_8032])
    assert outcomes == ["bytes:" + public + signature for _, public, _, signature in test_ed25519.RFC_8032]


def test_verdicts_of_wycheproof_on_ed25519() -> None:
    tests = vectors.wycheproof("ed25519")
    cases = [("verify", _hex(group["publicKey"]["pk"], test["msg"], test["sig"])) for group, test in tests]
    assert _on_both(cases) == [str(test["result"] == "valid") for _, test in tests]


def test_verdicts_on_the_twelve_speccheck_cases() -> None:
    tests = vectors.load("ed25519_speccheck")
    cases = [("verify", _hex(test["pub_key"], test["message"], test["signature"])) for test in tests]
    assert _on_both(cases) == [str(number == 3) for number in range(12)]


def test_verdicts_on_parts_of_small_order_and_odd_encodings() -> None:
    cases: list[Case] = []
    for key_part in range(8):
        for number in range(4):
            message = bytes((number,))
            public, signature = test_ed25519.forge(5, 7, key_part, number, message)
            cases.append(("verify", [public, message, signature]))
    assert set(_on_both(cases)) == {"True", "False"}
    key = SigningKey(bytes(32))
    good = key.sign(b"")
    odd = [("verify", [data, b"", good]) for data in test_ed25519.ODD]
    odd += [("verify", [key.public, b"", data + good[32:]]) for data in test_ed25519.ODD[::5]]
    assert set(_on_both(odd)) == {"False"}


def test_products_of_rfc_7748() -> None:
    cases = [("exchange", _hex(scalar, u)) for scalar, u, _ in test_x25519.RFC_7748]
    assert _on_both(cases) == ["bytes:" + result for _, _, result in test_x25519.RFC_7748]
    assert _on_both([("iterate", [b"\x01"])]) == [
        "bytes:422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    ]
    low = _on_both([("exchange", [bytes(32), public]) for public in test_x25519.LOW_ORDER])
    assert all(re.fullmatch("KeyFormatError: .* low order", out) for out in low)


def test_products_of_wycheproof() -> None:
    tests = vectors.wycheproof("x25519")
    for out, (_, test) in zip(
        _on_both([("exchange", _hex(test["private"], test["public"])) for _, test in tests]),
        tests,
        strict=True,
    ):
        if test["shared"] == "00" * 32:
            assert out == f"KeyFormatError: X25519 public key {test['public']} is a point of low order"
        else:
            assert out == "bytes:" + test["shared"], test


def test_did_documents() -> None:
    names = [*vectors.load("did_key_ed25519-x25519"), *vectors.load("did_key_x25519")["didDocument"]]
    outcomes = _on_both([("document", [name.encode()]) for name in names])
    assert outcomes == [describe(did.document(name)) for name in names]
    bad = ["", "did:key:", "did:key:z0", names[0][:-1], names[0] + "1", did.did_key(bytes(32))]
    for out in _on_both([("document", [name.encode()]) for name in bad]):
        assert re.match("(DecodeError|KeyFormatError): ", out)


def test_statements() -> None:
    seed, aad = bytes(32), b"chain 7"
    golden = bytes.fromhex(test_cose.GOLDEN)
    assert _on_both([("sign1", [seed, b"cpc/tx", b"hi", b""])]) == ["bytes:" + test_cose.GOLDEN]
    with_aad = cose.sign1("cpc/vote", bytes(500), SigningKey(seed), aad)
    opened = _on_both([("open1", [golden, b"cpc/tx", b""]), ("open1", [with_aad, b"cpc/vote", aad])])
    public = SigningKey(seed).public
    assert opened == [describe([public, "cpc/tx", b"hi"]), describe([public, "cpc/vote", bytes(500)])]
    refused: list[Case] = [("open1", [data, b"cpc/tx", b""]) for _, data in test_cose.REFUSED]
    assert all(out.startswith("DecodeError: ") for out in _on_both(refused))
    damaged: list[Case] = []
    for bit in range(0, 8 * len(golden), 31):
        data = bytearray(golden)
        data[bit // 8] ^= 1 << bit % 8
        damaged.append(("open1", [bytes(data), b"cpc/tx", b""]))
    assert all(re.match("(DecodeError|SignatureError): ", out) for out in _on_both(damaged))


def test_a_signature_fits_into_much_less_than_the_heap_of_a_board(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The smallest heap in which a device, with all of identity loaded, signs and verifies."""
    low, high = 16, 128
    report: dict[str, Any] = json.loads(run(SMALLEST))
    sign_ms, verify_ms, exchange_ms = report["sign_verify_exchange_ms"]
    while high - low > 2:
        middle = (low + high) // 2
        if start(SMALLEST, heap_size=f"{middle}k").returncode == 0:
            high = middle
        else:
            low = middle
    with capsys.disabled():
        print(
            f"\nmicropython: {report['loaded_bytes']} bytes loaded; sign {sign_ms:.1f} ms, "
            f"verify {verify_ms:.1f} ms, exchange {exchange_ms:.1f} ms; smallest heap {high} KiB"
        )
    assert high <= 96
