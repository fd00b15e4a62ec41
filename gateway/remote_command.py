"""Commands from afar, signed by an operator, and the gateway's signed answers.

Runs on CPython; pure.  Both are COSE_Sign1 (puf.cose), so a broker can neither forge nor alter them; it can
hold them back, repeat them and read them.  Against repetition every command has a number that must be
greater than that of the operator's last one, and a time after which it is void.

    cpc/command  {"v": 1, "to": gateway's DID, "seq": n, "until_ms": t, "do": word, "with": {..}}
    cpc/reply    {"v": 1, "to": operator's DID, "seq": n, "outcome": word, "text": .., "value": {..}}

A reply's outcome is `done`, `refused` (nothing was tried) or `failed`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import GatewayError
from puf import cbor
from puf.cose import open1, sign1
from puf.did import did_key, parse_did_key
from puf.ed25519 import SigningKey
from puf.errors import PufError

COMMAND = "cpc/command"
REPLY = "cpc/reply"
SIZE_MAX = 256 << 10
SEQ_MAX = (1 << 63) - 1
LIFE_MS_MAX = 30 * 86_400_000
"""Longest time ahead that a command may name: one signed by mistake must not be good for ever."""

PING = "ping"
STATUS = "status"
GET_CONFIG = "get-config"
SET_CONFIG = "set-config"
RELOAD_CONFIG = "reload-config"
RESTART_STREAM = "restart-stream"
ARGUMENTS: dict[str, dict[str, bool]] = {
    PING: {},
    STATUS: {},
    GET_CONFIG: {},
    SET_CONFIG: {"config": True, "replaces": False},
    RELOAD_CONFIG: {},
    RESTART_STREAM: {"stream": True},
}
"""The commands, and the texts that come with them: True, it must be there."""

DONE = "done"
REFUSED = "refused"
FAILED = "failed"


class CommandRefused(GatewayError):
    """A command is not carried out; the text says why."""


class NotACommand(CommandRefused):
    """No operator of ours has said this, to us: it deserves no answer."""


@dataclass(frozen=True, slots=True)
class Command:
    """What an operator wants."""

    operator: str
    """Their did:key."""
    seq: int
    until_ms: int
    """Unix milliseconds."""
    word: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a command."""

    operator: str
    seq: int
    outcome: str
    text: str
    value: Mapping[str, Any] = field(default_factory=dict)
    gateway: str = ""
    """DID of who signed it."""


def sign_command(key: SigningKey, gateway: str, command: Command) -> bytes:
    """The command, signed.  gateway: DID of the one it is for."""
    content = {
        "v": 1,
        "to": gateway,
        "seq": command.seq,
        "until_ms": command.until_ms,
        "do": command.word,
        "with": dict(command.arguments),
    }
    return sign1(COMMAND, cbor.encode(content), key)


def open_command(data: bytes, gateway: str, operators: Collection[str]) -> Command:
    """The command in `data`, if one of `operators` has signed it for `gateway`.  Raises NotACommand."""
    try:
        signed = open1(data, COMMAND, size_max=SIZE_MAX)
        content: Any = cbor.decode(signed.payload, size_max=SIZE_MAX)
    except PufError as error:
        raise NotACommand(f"no signed command: {error}") from None
    operator = did_key(signed.kid)
    if operator not in operators:
        raise NotACommand(f"{operator} is no operator of this gateway; they stand below [remote]")
    match content:
        case {
            "v": 1,
            "to": str(to),
            "seq": int(seq),
            "until_ms": int(until_ms),
            "do": str(word),
            "with": dict(arguments),
        } if len(content) == 6 and type(seq) is int and 0 <= seq <= SEQ_MAX:
            if to != gateway:
                raise NotACommand(f"a command for {to:.80}, not for this gateway")
            return Command(operator, seq, until_ms, word, arguments)
    raise NotACommand("a command of another layout")


def check_command(command: Command, last_seq: int, now_ms: int) -> None:
    """Raises CommandRefused when it comes too late or again, or is none of ours."""
    if command.seq <= last_seq:
        raise CommandRefused(
            f"command {command.seq} comes again, or after a later one: the last was {last_seq}"
        )
    if now_ms >= command.until_ms:
        raise CommandRefused(
            f"command {command.seq} is void since {now_ms - command.until_ms} ms by the gateway's clock"
        )
    if command.until_ms - now_ms > LIFE_MS_MAX:
        raise CommandRefused(f"command {command.seq} would be good for more than {LIFE_MS_MAX} ms")
    known = ARGUMENTS.get(command.word)
    if known is None:
        raise CommandRefused(f"{command.word[:40]!r} is no command; there are: {', '.join(ARGUMENTS)}")
    for name, value in command.arguments.items():
        if name not in known or not isinstance(value, str):
            raise CommandRefused(
                f"{command.word} takes no {name!r:.40}; it takes: {', '.join(known) or 'nothing'}"
            )
    for name, is_needed in known.items():
        if is_needed and name not in command.arguments:
            raise CommandRefused(f"{command.word} needs {name}")


def sign_reply(key: SigningKey, reply: Reply) -> bytes:
    """The reply, signed by the gateway."""
    content = {
        "v": 1,
        "to": reply.operator,
        "seq": reply.seq,
        "outcome": reply.outcome,
        "text": reply.text,
        "value": dict(reply.value),
    }
    return sign1(REPLY, cbor.encode(content), key)


def open_reply(data: bytes, gateway: str) -> Reply:
    """The reply that `gateway` has signed.  Raises CommandRefused."""
    try:
        signed = open1(data, REPLY, size_max=SIZE_MAX)
        content: Any = cbor.decode(signed.payload, size_max=SIZE_MAX)
        _, public = parse_did_key(gateway)
    except PufError as error:
        raise CommandRefused(f"no signed reply: {error}") from None
    if signed.kid != public:
        raise CommandRefused(f"the reply was signed by {did_key(signed.kid)}, not by the gateway")
    match content:
        case {
            "v": 1,
            "to": str(to),
            "seq": int(seq),
            "outcome": str(outcome),
            "text": str(text),
            "value": dict(value),
        }:
            return Reply(to, seq, outcome, text, value, gateway)
    raise CommandRefused("a reply of another layout")
