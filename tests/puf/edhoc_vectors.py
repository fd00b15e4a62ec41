"""The traces of RFC 9529, read where they lie, and the suite that one needs: P-256, for tests alone."""

import re

import pytest
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric import ec

from puf.edhoc_keys import Suite
from puf.errors import KeyFormatError
from tests.puf.vectors import FOLDER

Section = dict[str, bytes]


def _public(x: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x02" + x)
    except (ValueError, InvalidKey) as error:
        raise KeyFormatError("no point of P-256 has this x") from error


def _private(private: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())


def p256_exchange(private: bytes, peer_public: bytes) -> bytes:
    """The x of the product."""
    return _private(private).exchange(ec.ECDH(), _public(peer_public))


def p256_public_of(private: bytes) -> bytes:
    """The x of the public key."""
    return _private(private).public_key().public_numbers().x.to_bytes(32, "big")


SUITE_2 = Suite(2, 2, 1, 32, p256_exchange, p256_public_of)
SUITE_6 = SUITE_2._replace(number=6)
"""In name alone: its AEAD is another, but the trace only offers it."""


def sections() -> dict[str, Section]:
    """Title of chapter / title of section -> what each block there is called -> its bytes."""
    path = FOLDER / "edhoc_traces_rfc9529.md"
    if not path.is_file():
        pytest.skip("no ../shared/data/vectors/edhoc_traces_rfc9529.md beside the repository")
    found: dict[str, Section] = {}
    chapter = title = ""
    for part in re.split(r"^(#+ .*)$", path.read_text(), flags=re.MULTILINE):
        if part.startswith("# "):
            chapter, title = part[2:].partition(" #")[0], ""
        elif part.startswith("#"):
            title = re.sub(r" *\{.*\}", "", part.lstrip("#").strip())
        for label, text in re.findall(
            r"^~{8}\n([^~]*?) \(\d+ bytes?\)\n([0-9a-fA-F \n]+)~{8}$", part, flags=re.MULTILINE
        ):
            name = " ".join(label.split())
            found.setdefault(f"{chapter} / {title}", {})[name] = bytes.fromhex(text)
    return found


def trace(chapter_number: int) -> Section:
    """All blocks of trace 1 or 2; of those with one name (message_1, sent twice) the last one.

    The chapter on key updates renames what it computes anew, so nothing else is lost.
    """
    beginning = ("Authentication with Signatures", "Authentication with Static DH")[chapter_number - 1]
    joined: Section = {}
    for title, blocks in sections().items():
        if title.startswith(beginning):
            joined |= blocks
    return joined
