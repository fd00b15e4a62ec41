"""`cpc credential`: what an issuer says of cars, drivers, devices: issued, asked for, shown once, checked.

Runs on CPython, on Linux.  Part of the command line.  Here is what an issuing and an asking site do;
gateway/cli_credential_wallet.py has what a holder does.
"""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace, _SubParsersAction
from functools import partial
from pathlib import Path
from typing import Any

from gateway import cli_chain, cli_credential_wallet, credentials
from gateway.anchor import load_genesis
from gateway.cli_credential_wallet import name_text, plain, read_small
from gateway.cli_enroll import device_name
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, moment_text, whole_number
from gateway.cli_registrar import add_site, look_at_site, open_names, open_registrar, open_site
from gateway.credential_exchange import (
    REQUEST_SIZE_MAX,
    VALID_MS_MAX,
    make_batch,
    open_request,
)
from gateway.credential_registry import CredentialRegistry, Issued
from gateway.crypto.key_file import load_gateway_key
from gateway.disk import Disk
from gateway.enrolment import gateway_document
from gateway.errors import EvidenceError
from puf import cwt, sd_cwt, status_list
from puf.did import did_cpc, did_key
from puf.errors import CredentialError, PufError

CLAIMS_FILE_SIZE_MAX = 1 << 16
EVIDENCE_SIZE_MAX = 1 << 22
DAYS = 7
EXAMPLES = {
    "issue": "  cpc credential issue car7 -c fleet/gateway.toml --request request.cbor \\\n"
    "      --schema vehicle/1 --claim plug=CCS2 --claim plate=B-XY77 --days 7 --out batch.cbor\n"
    "  cpc credential issue ann -c fleet/gateway.toml --request request.cbor --schema driver/1 \\\n"
    "      --claims ann.json --out batch.cbor\n\n"
    "Each credential is for one use.  If it ends before it is done, run it again: it gives the same ones.",
    "list": "  cpc credential list -c fleet/gateway.toml\n"
    "  cpc credential list car7 -c fleet/gateway.toml --json",
    "revoke": "  cpc credential revoke car7 -c fleet/gateway.toml --yes\n"
    "  cpc credential revoke car7 -c fleet/gateway.toml --batch 3fa9 --yes\n\n"
    "For ever: the site's status list says so, and its hash is on the chain.",
    "ask": "  cpc credential ask -c site/gateway.toml --issuer did:cpc:z... --schema vehicle/1 \\\n"
    "      --claim plug --out question.cbor\n\n"
    "The question serves once, and for two minutes unless --valid-ms says otherwise.",
    "verify": "  cpc credential verify presentation.cbor -c site/gateway.toml --status status.cwt\n\n"
    "The issuer makes its status list by cpc device status-list --out status.cwt; any mirror may hand it\n"
    "on. It is remembered, so --status may be left out until it is an hour old.\n"
    "Exit status 3: it does not hold.",
}


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc credential`."""
    credential = subcommands.add_parser("credential", help="what an issuer says of a car, a driver, a device")
    kinds = credential.add_subparsers(dest="kind", metavar="KIND", required=True)
    command = partial(cli_chain.add_command, kinds, EXAMPLES)

    cli_credential_wallet.add_request(kinds)
    issue = command("issue", "answer a holder's request with single-use credentials (the issuer does)")
    issue.add_argument("about", type=device_name, metavar="HOLDER", help="what you call the holder")
    issue.add_argument("--request", type=Path, metavar="FILE", required=True, help="what the holder made")
    issue.add_argument("--schema", metavar="TEXT", required=True, help="the kind, shown always: vehicle/1")
    issue.add_argument(
        "--claim", type=_claim, action="append", default=[], metavar="NAME=TEXT", help="repeat for more"
    )
    issue.add_argument("--claims", type=Path, metavar="FILE", help="more of them, an object of JSON")
    issue.add_argument(
        "--days", type=whole_number, default=DAYS, metavar="N", help=f"how long they count [{DAYS}]"
    )
    issue.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the answer")
    add_site(issue)
    issue.set_defaults(run=run_issue)
    cli_credential_wallet.add_keep(kinds)
    cli_credential_wallet.add_show(kinds)
    ask = command("ask", "ask a holder to show something (the asking site does)")
    ask.add_argument("--schema", metavar="TEXT", required=True, help="the kind of credential wanted")
    ask.add_argument(
        "--claim", action="append", default=[], metavar="NAME", help="to be shown; repeat for more"
    )
    ask.add_argument(
        "--issuer", type=name_text, action="append", default=[], metavar="DID", help="trusted [this site]"
    )
    ask.add_argument(
        "--valid-ms",
        type=whole_number,
        default=credentials.VALID_MS,
        metavar="MS",
        help=f"how long an answer is taken [{credentials.VALID_MS}]",
    )
    ask.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the question")
    add_site(ask, is_sending=False)
    ask.set_defaults(run=run_ask)
    cli_credential_wallet.add_present(kinds)
    check = command("verify", "whether an answer holds (the asking site does)")
    check.add_argument("presentation", type=Path, metavar="FILE", help="what the holder has shown")
    check.add_argument(
        "--status", type=Path, metavar="FILE", help="the issuer's status list, with FILE.evidence beside it"
    )
    check.add_argument(
        "--newest", action="store_true", help="refuse a list that is not the newest on the chain"
    )
    add_site(check, is_sending=False)
    check.set_defaults(run=run_verify)
    end = command("revoke", "end a holder's credentials, for ever (the issuer does)")
    end.add_argument("about", type=device_name, metavar="HOLDER", help="as cpc credential list says it")
    end.add_argument("--batch", type=_hex, default=b"", metavar="HEX", help="of this batch only")
    end.add_argument("--yes", action="store_true", help="it cannot be undone, so say so")
    add_site(end)
    end.set_defaults(run=run_revoke)
    shown = command("list", "the credentials that this site has issued")
    shown.add_argument("about", type=device_name, nargs="?", metavar="HOLDER", help="of this holder only")
    add_site(shown, is_sending=False)
    shown.set_defaults(run=run_list)


# ------------------------------------------------------------------ issuer


async def run_issue(args: Namespace) -> int:
    """`cpc credential issue`."""
    output = Output(args)
    if not 1 <= args.days <= credentials.DAYS_MAX:
        raise UsageError(f"--days is 1 to {credentials.DAYS_MAX}, not {args.days}")
    claims = _claims(args)
    try:
        request = open_request(read_small(args.request, REQUEST_SIZE_MAX))
    except PufError as error:
        raise UsageError(f"{args.request} is no request of a holder: {error}") from error
    with open_site(args) as (site, config):
        async with open_registrar(args, output, site, config) as registrar:
            made = await credentials.issue(
                site, request, args.about, args.schema, claims, args.days, registrar
            )
        Disk().write_file_atomic(args.out, make_batch([each.credential for each in made]), 0o600)
        output.value(
            _batch_json(did_cpc(site.did), made, site.now_ms()) | {"file": str(args.out)},
            f"{len(made)} credentials about {args.about}, each for one use\n"
            f"  issuer   {did_cpc(site.did)}\n"
            f"  kind     {args.schema}, until {moment_text(made[0].expires_ms * 1_000_000)}\n"
            f"  batch    {made[0].batch.hex()}\n"
            f"  written  {args.out}; the holder takes it: cpc credential keep WALLET {args.out}",
        )
    return EXIT_OK


async def run_revoke(args: Namespace) -> int:
    """`cpc credential revoke`."""
    if not args.yes:
        raise UsageError(f"the credentials of {args.about} would be ended for ever; say --yes")
    output = Output(args)
    with open_site(args) as (site, config):
        async with open_registrar(args, output, site, config) as registrar:
            count, listed = await credentials.revoke_credentials(site, args.about, registrar, args.batch)
        output.value(
            {"about": args.about, "revoked_count": count, "status_list_version": listed.version},
            f"{count} credentials of {args.about} are revoked\n"
            f"  proven: version {listed.version} of the status list says so, and its hash is on the chain",
        )
    return EXIT_OK


def run_list(args: Namespace) -> int:
    """`cpc credential list`."""
    output = Output(args)
    with look_at_site(args) as (site, config):
        issuer = did_cpc(gateway_document(load_gateway_key(config.key_path).identity.public).name())
        batches: dict[bytes, list[Issued]] = {}
        for each in CredentialRegistry(site.devices).all(args.about) if site else []:
            batches.setdefault(each.batch, []).append(each)
        now_ms = site.now_ms() if site else 0
        shown = [_batch_json(issuer, made, now_ms) for made in batches.values()]
    output.value({"issuer": issuer, "batches": shown}, f"issuer {issuer}")
    for batch in shown:
        output.line(
            f"{batch['about']:<16} {batch['schema']:<12} {batch['batch'][:8]}  {batch['count']} issued, "
            f"{batch['revoked_count']} revoked, until {moment_text(batch['expires_ms'] * 1_000_000)[:10]}"
            + (" (over)" if batch["is_over"] else "")
        )
    if not shown:
        whom = f" to {args.about}" if args.about else ""
        output.line(f"no credential was issued{whom}; cpc credential issue issues some")
    return EXIT_OK


def _batch_json(issuer: str, made: list[Issued], now_ms: int) -> dict[str, Any]:
    first = made[0]
    return {
        "about": first.about,
        "schema": first.schema,
        "batch": first.batch.hex(),
        "issuer": issuer,
        "count": len(made),
        "revoked_count": sum(each.is_revoked for each in made),
        "issued_ms": first.issued_ms,
        "expires_ms": first.expires_ms,
        "is_over": first.expires_ms <= now_ms,
        "status_indices": [each.status_index for each in made],
    }


# ------------------------------------------------------------------ verifier


def run_ask(args: Namespace) -> int:
    """`cpc credential ask`."""
    output = Output(args)
    if not 1_000 <= args.valid_ms <= VALID_MS_MAX:
        raise UsageError(f"--valid-ms is 1000 to {VALID_MS_MAX}, not {args.valid_ms}")
    with look_at_site(args, is_read_only=False) as (site, _):
        assert site  # noqa: S101 - it was made
        issuers = args.issuer or [did_cpc(site.did)]
        question, data = credentials.ask(site, args.schema, args.claim, issuers, args.valid_ms)
        Disk().write_file_atomic(args.out, data, 0o644)
        output.value(
            {
                "audience": question.audience,
                "nonce": question.nonce.hex(),
                "issuers": list(question.issuers),
                "schema": question.schema,
                "claims": list(question.claims),
                "valid_ms": question.valid_ms,
                "file": str(args.out),
            },
            f"{question.audience} asks for {question.schema}, "
            f"with {', '.join(question.claims) or 'nothing more'}\n"
            f"  written  {args.out}; the holder answers: cpc credential present WALLET {args.out}\n"
            f"  within   {question.valid_ms // 1000} s",
        )
    return EXIT_OK


async def run_verify(args: Namespace) -> int:
    """`cpc credential verify`."""
    output = Output(args)
    presentation = read_small(args.presentation, sd_cwt.SIZE_MAX)
    listed = None
    if args.status is not None:
        listed = (
            read_small(args.status, status_list.TOKEN_SIZE_MAX),
            read_small(Path(f"{args.status}.evidence"), EVIDENCE_SIZE_MAX),
        )
    with look_at_site(args, is_read_only=False) as (site, config):
        assert site  # noqa: S101 - it was made
        genesis = load_genesis(config.genesis_path)
        async with open_names(output, config) as names:
            try:
                found = await credentials.verify(site, presentation, names, genesis, listed)
                if args.newest and found.version < found.newest_version:
                    raise CredentialError(
                        "stale", f"version {found.newest_version} of the status list is on the chain; get it"
                    )
            except (PufError, EvidenceError) as error:
                reason = error.reason if isinstance(error, CredentialError) else type(error).__name__
                output.value(
                    {"is_valid": False, "reason": reason, "why": str(error)}, f"refused ({reason}): {error}"
                )
                return EXIT_NOT_PROVEN
    _show_verified(output, found)
    return EXIT_OK


def _show_verified(output: Output, found: credentials.Verified) -> None:
    claims = {
        str(claim): plain(value)
        for claim, value in found.presented.claims.items()
        if claim not in sd_cwt.NEVER_REDACTED and claim != cwt.SUB
    }
    is_newest = found.version >= found.newest_version
    output.value(
        {
            "is_valid": True,
            "claims": claims,
            "holder": did_key(found.presented.holder),
            "issuer": found.issuer,
            "height": found.height,
            "status_list_version": found.version,
            "is_newest_status_list": is_newest,
        },
        "\n".join(
            [
                "it holds",
                *(f"  {name:<12} {json.dumps(value, ensure_ascii=False)}" for name, value in claims.items()),
                f"  proven: {found.issuer} has issued it; its key is so after block {found.height}",
                "  proven: the holder's key has signed for this site and this question, which is used up",
                f"  proven: it is not revoked by version {found.version} of the issuer's status list"
                + ("" if is_newest else f"; version {found.newest_version} is on the chain already"),
                f"  one use     {did_key(found.presented.holder)}: who it is beyond that is not shown",
            ]
        ),
    )


# ------------------------------------------------------------------ arguments and files


def _claim(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise ArgumentTypeError(f"{text!r} is no claim; write NAME=TEXT, such as plug=CCS2")
    return name, value


def _claims(args: Namespace) -> dict[int | str, object]:
    given: dict[int | str, object] = {}
    if args.claims is not None:
        try:
            found = json.loads(read_small(args.claims, CLAIMS_FILE_SIZE_MAX))
        except ValueError as error:
            raise UsageError(f"{args.claims} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise UsageError(f'{args.claims} should be an object of JSON, such as {{"plug": "CCS2"}}')
        given |= found
    for name, value in args.claim:
        if name in given:
            raise UsageError(f"claim {name!r} is given twice")
        given[name] = value
    if credentials.SCHEMA in given:
        raise UsageError("the kind of credential is --schema, and no claim")
    return given


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no beginning of a batch's name: pairs of hex digits") from None
