"""`cpc credential request|keep|show|present`: what the holder of credentials does, with its wallet.

Runs on CPython, on Linux.  Part of the command line.  The wallet is one of `cpc wallet new`; beside its FILE
lies FILE.credentials (gateway/credential_wallet.py).
"""

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from collections import Counter
from pathlib import Path
from typing import Any

from gateway import cli_chain
from gateway.cli_output import EXIT_OK, Output, UsageError, moment_text, whole_number
from gateway.cli_wallet import add_passphrase, unlock
from gateway.credential_exchange import (
    BATCH_MAX,
    BATCH_SIZE_MAX,
    QUESTION_SIZE_MAX,
    Question,
    make_request,
    open_batch,
    open_question,
)
from gateway.credential_wallet import ANY, ASKED, UNUSED, USED, CredentialWallet, Entry, opened
from gateway.crypto import wallet_file
from gateway.disk import Disk
from puf import cwt
from puf.did import did_cpc, did_key, parse_did_cpc
from puf.errors import PufError

COUNT = 10
EXAMPLES = {
    "request": "  cpc wallet new car.wallet\n"
    "  cpc credential request car.wallet --issuer did:cpc:z... --count 20 --out request.cbor\n"
    "  cpc credential request car.wallet --issuer did:cpc:z... --for did:cpc:z... --out request.cbor\n\n"
    "The issuer says its DID: cpc credential list prints it, there.",
    "keep": "  cpc credential keep car.wallet batch.cbor",
    "show": "  cpc credential show car.wallet --passphrase-file phrase.txt",
    "present": "  cpc credential present car.wallet question.cbor --show plug --out presentation.cbor\n\n"
    "It uses up one credential.  Nothing is shown but its kind and issuer, and the claims that --show names.",
}


def add_request(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc credential request`."""
    request = _command(kinds, "request", "ask an issuer for credentials (the holder does)")
    request.add_argument(
        "--issuer", type=name_text, metavar="DID", required=True, help="who is to issue them"
    )
    request.add_argument(
        "--for",
        type=name_text,
        dest="site",
        metavar="DID",
        help="the site to show them to [any]",
    )
    request.add_argument(
        "--count", type=whole_number, default=COUNT, metavar="N", help=f"how many, each for one use [{COUNT}]"
    )
    request.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the request")
    request.set_defaults(run=run_request)


def add_keep(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc credential keep`."""
    keep = _command(kinds, "keep", "take in what an issuer has answered (the holder does)")
    keep.add_argument("batch", type=Path, metavar="FILE", help="the issuer's answer")
    keep.set_defaults(run=run_keep)


def add_show(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc credential show`."""
    show = _command(kinds, "show", "what a wallet has, and has used (the holder does)")
    show.set_defaults(run=run_show)


def add_present(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc credential present`."""
    present = _command(kinds, "present", "answer a site's question, with one credential (the holder does)")
    present.add_argument("question", type=Path, metavar="FILE", help="what the site asks")
    present.add_argument(
        "--show", action="append", default=[], metavar="NAME", help="a claim to be shown; repeat for more"
    )
    present.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the answer")
    present.set_defaults(run=run_present)


def _command(kinds: "_SubParsersAction[ArgumentParser]", name: str, what: str) -> ArgumentParser:
    made = cli_chain.add_command(kinds, EXAMPLES, name, what)
    made.add_argument("wallet", type=Path, metavar="WALLET", help="a file of cpc wallet new")
    add_passphrase(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def run_request(args: Namespace) -> int:
    """`cpc credential request`."""
    output = Output(args)
    if not 1 <= args.count <= BATCH_MAX:
        raise UsageError(f"--count is 1 to {BATCH_MAX}, not {args.count}")
    site = args.site or ANY
    key = unlock(args, wallet_file.load(args.wallet))
    with opened(args.wallet, key) as wallet:
        keys = wallet.reserve(site, args.issuer, args.count, _now_ms())
        Disk().write_file_atomic(args.out, make_request(args.issuer, keys), 0o600)
    output.value(
        {"issuer": args.issuer, "site": site, "count": args.count, "file": str(args.out)},
        f"asks {args.issuer} for {args.count} credentials, to be shown to {_site_text(site)}\n"
        f"  written  {args.out}; the issuer answers: cpc credential issue NAME --request {args.out} ...",
    )
    return EXIT_OK


def run_keep(args: Namespace) -> int:
    """`cpc credential keep`."""
    output = Output(args)
    try:
        batch = open_batch(read_small(args.batch, BATCH_SIZE_MAX))
    except PufError as error:
        raise UsageError(f"{args.batch} is no answer of an issuer: {error}") from error
    key = unlock(args, wallet_file.load(args.wallet))
    with opened(args.wallet, key) as wallet:
        count = wallet.keep(batch, _now_ms())
    output.value(
        {"kept_count": count, "known_count": len(batch) - count},
        f"{count} credentials are in {args.wallet}"
        + (f"; {len(batch) - count} were there or used already" if count < len(batch) else ""),
    )
    return EXIT_OK


def run_show(args: Namespace) -> int:
    """`cpc credential show`."""
    output = Output(args)
    key = unlock(args, wallet_file.load(args.wallet))
    with opened(args.wallet, key) as wallet:
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in wallet.entries:
            groups.setdefault((entry.site, entry.issuer), []).append(entry)
        for (site, issuer), entries in groups.items():
            _show_group(output, wallet, site, issuer, entries)
        if not groups:
            output.line("no credential was asked for; cpc credential request asks for some")
    return EXIT_OK


def _show_group(
    output: Output, wallet: CredentialWallet, site: str, issuer: str, entries: list[Entry]
) -> None:
    now_ms = _now_ms()
    good = [entry for entry in entries if entry.state == UNUSED and entry.ends_ms() > now_ms]
    kinds: dict[str, Any] = {}
    for entry in good:
        claims = entry.claims()
        found = kinds.setdefault(
            str(claims.get("schema")), {"unused": 0, "ends_ms": entry.ends_ms(), "claims": {}}
        )
        found["unused"] += 1
        found["ends_ms"] = min(found["ends_ms"], entry.ends_ms())
        found["claims"] = {
            name: plain(value) for name, value in claims.items() if isinstance(name, str) and name != "schema"
        }
    states = Counter(entry.state for entry in entries)
    # To a site that a credential of "any" is shown to, too, nothing but its own key is told.
    name = None if site == ANY else wallet.name_for(site)
    shown = {
        "site": site,
        "issuer": issuer,
        "name": name,
        "kinds": kinds,
        "used": states[USED],
        "asked": states[ASKED],
        "ended": states[UNUSED] - len(good),
        "uses": [
            {"audience": entry.audience, "key": did_key(entry.public), "moment_ms": entry.moment_ms}
            for entry in entries
            if entry.state == USED
        ],
    }
    lines = [f"for {_site_text(site)}, by {issuer}"]
    if name:
        lines.append(f"  known there   as {name}")
    for kind, found in kinds.items():
        lines.append(
            f"  {found['unused']} unused     of {kind}, until {moment_text(found['ends_ms'] * 1_000_000)}"
        )
        lines.extend(f"    {claim:<12}{value}" for claim, value in found["claims"].items())
    lines.append(
        f"  {shown['used']} used, {shown['ended']} ended, {shown['asked']} asked for and not answered"
    )
    output.value(shown, "\n".join(lines))


def run_present(args: Namespace) -> int:
    """`cpc credential present`."""
    output = Output(args)
    try:
        question = open_question(read_small(args.question, QUESTION_SIZE_MAX))
    except PufError as error:
        raise UsageError(f"{args.question} is no question of a site: {error}") from error
    now_ms = _now_ms()
    _check(args, question, now_ms)
    key = unlock(args, wallet_file.load(args.wallet))
    with opened(args.wallet, key) as wallet:
        try:
            data, entry = wallet.present(question, args.show, now_ms)
        except ValueError as error:
            raise UsageError(f"{error}; it has what cpc credential show prints") from error
        left = wallet.unused_count(question, now_ms)
        Disk().write_file_atomic(args.out, data, 0o600)
    output.value(
        {
            "audience": question.audience,
            "shown": args.show,
            "holder": did_key(entry.public),
            "bytes": len(data),
            "left": left,
            "file": str(args.out),
        },
        f"shown to {question.audience}: {', '.join(args.show) or 'nothing but kind and issuer'}\n"
        f"  as       {did_key(entry.public)}, a key for this one use\n"
        f"  written  {args.out}, {len(data)} bytes\n"
        f"  left     {left} that answer such a question"
        + ("" if left else "; get more: cpc credential request"),
    )
    return EXIT_OK


def _check(args: Namespace, question: Question, now_ms: int) -> None:
    """Raises UsageError for a question that would be answered in vain."""
    missing = [claim for claim in question.claims if claim not in args.show]
    if missing:
        raise UsageError(
            f"{question.audience} asks for {', '.join(question.claims)}; if it may see that, say "
            + " ".join(f"--show {claim}" for claim in question.claims)
        )
    if len(set(args.show)) != len(args.show):
        raise UsageError("a claim is shown once; leave out what is there twice")
    if not question.asked_ms - cwt.SKEW_MS <= now_ms < question.asked_ms + question.valid_ms:
        raise UsageError(
            f"the question was asked at {moment_text(question.asked_ms * 1_000_000)} and good for "
            f"{question.valid_ms // 1000} s; let the site ask anew, or check both clocks"
        )


def name_text(text: str) -> str:
    """The type of options that name an issuer or a site."""
    try:
        return did_cpc(parse_did_cpc(text))
    except PufError as error:
        raise ArgumentTypeError(f"{text!r} is no name such as did:cpc:z...: {error}") from None


def read_small(path: Path, size_max: int) -> bytes:
    """What is in a file of somebody else.  Raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(size_max + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > size_max:
        raise UsageError(f"{path} has more than {size_max:,} bytes, so it is not what is wanted here")
    return data


def plain(value: object) -> Any:
    """A claim's value for JSON: bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def _site_text(site: str) -> str:
    return "any site" if site == ANY else site


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
