"""Signatures that cost a hash, and work that is done once for all nodes: what makes a simulated hour cheap.

Runs on CPython.  Only for the length of a `with`: the modules of the chain get them in place of their own.
What is memoised is pure and the same everywhere: what a block makes of its parent's state, the bytes that
a vote signs, what a transaction says.  Signatures of votes are verified by each node for itself.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import sha256, sha512
from typing import Any

import puf.cose
from chain_node import block, entry, equivocation, ledger, signatures, state, transaction, validator_set
from chain_node.errors import IllicitBlock, Refused
from puf import ed25519, merkle_map
from puf.ed25519 import SigningKey

REMEMBERED_MAX = 1 << 14


class StubKey(SigningKey):
    """Signs with a hash; whoever knows the public key could do it, and only forgers here would."""

    __slots__ = ()

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.public = sha256(b"public" + seed).digest()

    def sign(self, message: bytes) -> bytes:
        return sha512(self.public + message).digest()


def stub_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    return len(public) == 32 and signature == sha512(public + message).digest()


def key_of(name: str, *, is_real: bool) -> SigningKey:
    """The key of somebody with this name."""
    seed = sha256(name.encode()).digest()
    return SigningKey(seed) if is_real else StubKey(seed)


def verifier(*, is_real: bool) -> Callable[[bytes, bytes, bytes], bool]:
    return ed25519.verify if is_real else stub_verify


@contextlib.contextmanager
def cheap(*, is_real: bool, is_memoised: bool) -> Iterator[None]:
    """Inside of it signatures are stubs unless `is_real`, and execution is memoised if it says so."""
    saved: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: object) -> None:
        saved.append((module, name, vars(module)[name]))
        setattr(module, name, value)

    try:
        if not is_real:
            for module in (puf.cose, block, signatures, validator_set):
                put(module, "verify", stub_verify)
        if is_memoised:
            put(ledger, "check_block", _memoised_check(ledger.check_block))
            put(ledger, "impeachment_block", _memoised_impeachment(ledger.impeachment_block))
            put(equivocation, "check", _memoised_evidence(equivocation.check))
            for module, name in (
                (block, "vote_payload"),
                (signatures, "vote_payload"),
                (state, "account_key"),
                (state, "conduct_key"),
                (state, "equivocation_key"),
                (merkle_map, "_node_hash"),
                (puf.cose, "_protected"),
                (puf.cose, "_check_protected"),
                (puf.cose, "sig_structure"),
            ):
                put(module, name, lru_cache(REMEMBERED_MAX)(getattr(module, name)))
            for kind, name in (
                (transaction.Transaction, "decode"),
                (block.Vote, "read"),
                (entry.Account, "decode"),
            ):
                put(kind, name, staticmethod(lru_cache(REMEMBERED_MAX)(getattr(kind, name))))
        yield
    finally:
        for module, name, value in reversed(saved):
            setattr(module, name, value)


def _memoised_check(check: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[tuple[bytes, bytes], Any] = {}

    def check_block(
        read_node: Any, parent: Any, genesis: Any, block: Any, schedule: Any, before: Any = None
    ) -> Any:
        place = (parent.block_hash, block.header.block_hash)
        if place not in known:
            try:
                known[place] = check(read_node, parent, genesis, block, schedule, before)
            except IllicitBlock as error:
                known[place] = error
        if isinstance(known[place], IllicitBlock):
            raise known[place]
        return known[place]

    return check_block


def _memoised_impeachment(make: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[bytes, Any] = {}

    def impeachment_block(read_node: Any, parent: Any, genesis: Any, schedule: Any) -> Any:
        if parent.block_hash not in known:
            known[parent.block_hash] = make(read_node, parent, genesis, schedule)
        return known[parent.block_hash]

    return impeachment_block


def _memoised_evidence(check: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[tuple[Any, int], Any] = {}

    def check_evidence(body: Any, genesis: Any, schedule: Any, height: int, validators_at: Any) -> Any:
        place = (body, height)
        if place not in known:
            try:
                known[place] = check(body, genesis, schedule, height, validators_at)
            except Refused as error:
                known[place] = error
        if isinstance(known[place], Refused):
            raise known[place]
        return known[place]

    return check_evidence
