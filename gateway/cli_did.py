"""`cpc did`: names on the chain, whose keys may change; made, looked up with a proof, changed and ended.

Runs on CPython.  Part of the command line.  puf/did_document.py says what a document is, and
chain_node/did_ledger.py who may change one.
"""

import json
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    _SubParsersAction,
)
from functools import partial
from pathlib import Path

from chain_node.wire import DidDeactivate, DidEntry, DidRegister, DidRotate
from gateway import cli_chain
from gateway.cli_chain import Chain, beside, sent_json, sent_text
from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError, whole_number
from gateway.cli_wallet import add_sending, deliver
from gateway.crypto import wallet_file
from puf import did, did_document
from puf.did import ED25519, X25519, did_cpc, parse_did_cpc, parse_did_key
from puf.did_document import AGREEMENT, ASSERTION, AUTHENTICATION, DELEGATION, INVOCATION, SIGNING
from puf.errors import PufError

PURPOSES = {
    "authentication": AUTHENTICATION,
    "assertion": ASSERTION,
    "invocation": INVOCATION,
    "delegation": DELEGATION,
    "all": SIGNING,
}
EXAMPLES = {
    "create": "  cpc did create alice.wallet\n"
    "  cpc did create alice.wallet --recovery did:key:z6Mk... --key did:key:z6LS...\n"
    "  cpc did create alice.wallet --service site,Gateway,https://site.example/\n\n"
    "The wallet's key is in the new document, for everything; its account pays.",
    "show": "  cpc did show did:cpc:z... --genesis chain/genesis.cbor\n"
    "  cpc did show did:cpc:z... --at 1200 --json\n  cpc did show did:key:z6Mk...",
    "rotate": "  cpc did rotate alice.wallet did:cpc:z... --key did:key:z6Mk...=assertion\n"
    "  cpc did rotate new.wallet did:cpc:z... --key WALLET --drop-key did:key:z6Mk...\n"
    "  cpc did rotate alice.wallet did:cpc:z... --drop-service site\n\n"
    "Anchors and signatures of before keep counting by the keys of their time.",
    "deactivate": "  cpc did deactivate alice.wallet did:cpc:z... --yes\n\nFor ever: nobody can undo it.",
}
_KEY_HELP = "did:key:z6Mk...[=PURPOSE], did:key:z6LS..., or WALLET[=PURPOSE]; repeat for more; purposes: "


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc did`."""
    names = subcommands.add_parser("did", help="names on the chain, whose keys may change")
    kinds = names.add_subparsers(dest="kind", metavar="KIND", required=True)

    command = partial(cli_chain.add_command, kinds, EXAMPLES)

    create = command("create", "register a new name")
    create.add_argument(
        "wallet", type=Path, metavar="WALLET", help="whose account pays, and whose key it has"
    )
    _add_parts(create)
    create.add_argument("--salt", default="", metavar="TEXT", help="another one gives another name")
    add_sending(create)
    create.set_defaults(run=run_create)
    show = command("show", "the document of a name, proven")
    show.add_argument("did", metavar="DID", help="did:cpc:z..., or did:key:z..., which needs no node")
    show.add_argument("--at", type=whole_number, metavar="HEIGHT", help="as it was for that block [now]")
    show.add_argument("--wallet", type=Path, metavar="FILE", help="trust the chain that this wallet trusts")
    cli_chain.add_node(show)
    show.set_defaults(run=run_show)
    rotate = command("rotate", "change a name's document: its keys, services, recovery key")
    rotate.add_argument("wallet", type=Path, metavar="WALLET", help="whose key controls the name")
    rotate.add_argument("did", type=_name, metavar="DID", help="did:cpc:z...")
    _add_parts(rotate)
    rotate.add_argument("--drop-key", action="append", default=[], metavar="KEY", help="repeat for more")
    rotate.add_argument("--drop-service", action="append", default=[], metavar="ID", help="repeat for more")
    add_sending(rotate)
    rotate.set_defaults(run=run_rotate)
    end = command("deactivate", "end a name, for ever")
    end.add_argument("wallet", type=Path, metavar="WALLET", help="whose key controls the name")
    end.add_argument("did", type=_name, metavar="DID", help="did:cpc:z...")
    end.add_argument("--yes", action="store_true", help="it cannot be undone, so say so")
    add_sending(end)
    end.set_defaults(run=run_deactivate)


def _add_parts(command: ArgumentParser) -> None:
    command.add_argument(
        "--key", action="append", default=[], metavar="KEY", help=_KEY_HELP + ", ".join(PURPOSES)
    )
    command.add_argument(
        "--service", type=_service, action="append", default=[], metavar="ID,TYPE,URI", help="repeat for more"
    )
    command.add_argument(
        "--recovery", type=cli_chain.account_key, metavar="KEY", help="may change it when other keys are lost"
    )


async def run_create(args: Namespace) -> int:
    """`cpc did create`."""
    output, wallet = Output(args), wallet_file.load(args.wallet)
    keys = [did_document.Key(ED25519, SIGNING, wallet.public), *(_key(text, wallet) for text in args.key)]
    try:
        document = did_document.make(
            keys, recovery=args.recovery, services=args.service, salt=args.salt.encode()
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return await _change(args, output, wallet, document.name(), DidRegister(document))


async def run_show(args: Namespace) -> int:
    """`cpc did show`."""
    output = Output(args)
    if args.did.startswith(did.PREFIX):
        try:
            document = did.document(args.did)
        except PufError as error:
            raise UsageError(f"{args.did!r} is no name: {error}") from error
        output.value({"didDocument": document}, json.dumps(document, indent=2))
        return EXIT_OK
    try:
        name = _name(args.did)
    except ArgumentTypeError as error:
        raise UsageError(str(error)) from error
    async with Chain(args, output, beside(args.wallet, ".chain") if args.wallet else None) as chain:
        answer = await chain.node.get_did(name, args.at)
        height = answer.evidence.link.header.height
        if chain.client.head.height < height:
            await chain.follow(height)
        if args.at is None:
            entry = chain.client.confirm_did(name, answer.evidence)
            resolution = entry.resolve(name) if entry else None
            proof = f"proven: it is so after block {height}"
        else:
            found = chain.client.confirm_did_at(name, args.at, answer.version, answer.evidence)
            resolution = {"didDocument": found.to_json(name)} if found else None
            proof = f"proven: these keys count in block {args.at}"
        if resolution is None:
            output.value(
                {"did": args.did, "status": "unknown", "height": height},
                f"{args.did} has no valid document there\n  {proof.replace('these keys', 'no keys')}",
            )
            return EXIT_FAILED
        text = json.dumps(resolution["didDocument"], indent=2)
        output.value(resolution | {"height": height}, f"{text}\n  {proof}")
    return EXIT_OK


async def run_rotate(args: Namespace) -> int:
    """`cpc did rotate`."""
    output, wallet = Output(args), wallet_file.load(args.wallet)
    async with Chain(args, output, beside(args.wallet, ".chain")) as chain:
        entry = await _present(chain, args.did)
    old = entry.document
    dropped = [_key(text, wallet).public for text in args.drop_key]
    added = [_key(text, wallet) for text in args.key]
    changed = {key.public for key in added}
    keys = [key for key in old.keys if key.public not in dropped and key.public not in changed] + added
    left = [each for each in old.services if each.ident not in args.drop_service]
    services = [each for each in left if each.ident not in {new.ident for new in args.service}]
    for ident in args.drop_service:
        if ident not in {each.ident for each in old.services}:
            raise UsageError(f"{did_cpc(args.did)} has no service {ident!r}")
    for public in dropped:
        if public not in {key.public for key in old.keys}:
            raise UsageError(f"{did_cpc(args.did)} has no key {public.hex()}")
    try:
        document = did_document.make(
            keys, old.controller, args.recovery or old.recovery, [*services, *args.service], old.salt
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if document == old:
        raise UsageError(
            "that changes nothing; say --key, --drop-key, --service, --drop-service or --recovery"
        )
    return await _change(args, output, wallet, args.did, DidRotate(args.did, entry.version, document))


async def run_deactivate(args: Namespace) -> int:
    """`cpc did deactivate`."""
    if not args.yes:
        raise UsageError(f"{did_cpc(args.did)} would be ended for ever; say --yes")
    return await _change(args, Output(args), wallet_file.load(args.wallet), args.did, DidDeactivate(args.did))


async def _change(
    args: Namespace,
    output: Output,
    wallet: wallet_file.Wallet,
    name: bytes,
    body: DidRegister | DidRotate | DidDeactivate,
) -> int:
    async with Chain(args, output, beside(args.wallet, ".chain")) as chain:
        sent = await deliver(args, chain, wallet, body)
        shown: dict[str, object] = {"did": did_cpc(name)}
        output.value(shown | sent_json(sent), f"{did_cpc(name)}\n{sent_text(sent, chain.client)}")
    return EXIT_OK if sent.is_applied else EXIT_FAILED


async def _present(chain: Chain, name: bytes) -> DidEntry:
    answer = await chain.node.get_did(name)
    height = answer.evidence.link.header.height
    if chain.client.head.height < height:
        await chain.follow(height)
    entry = chain.client.confirm_did(name, answer.evidence)
    if entry is None:
        raise UsageError(f"{did_cpc(name)} is not registered, proven after block {height}")
    return entry


def _name(text: str) -> bytes:
    try:
        return parse_did_cpc(text)
    except PufError as error:
        raise ArgumentTypeError(f"{text!r} is no name such as did:cpc:z...: {error}") from None


def _key(text: str, wallet: wallet_file.Wallet) -> did_document.Key:
    who, _, purpose = text.partition("=")
    if purpose and purpose not in PURPOSES:
        raise UsageError(f"{purpose!r} is no purpose; there are {', '.join(PURPOSES)}")
    if who == "WALLET":
        return did_document.Key(ED25519, PURPOSES[purpose or "all"], wallet.public)
    try:
        codec, public = parse_did_key(who)
    except PufError as error:
        raise UsageError(f"{who!r} is no key such as did:key:z6Mk...: {error}") from error
    if codec == X25519:
        if purpose:
            raise UsageError(f"{who} is for sealing, and for nothing else; leave ={purpose} out")
        return did_document.Key(X25519, AGREEMENT, public)
    return did_document.Key(ED25519, PURPOSES[purpose or "all"], public)


def _service(text: str) -> did_document.Service:
    parts = text.split(",", 2)
    if len(parts) != 3:
        raise ArgumentTypeError(
            f"{text!r} is no service; write ID,TYPE,URI: site,Gateway,https://site.example/"
        )
    return did_document.Service(*parts)
