"""`cpc wallet`: an account in an encrypted file; money sent, looked at, and each step proven.

Runs on CPython.  Part of the command line.
"""

import getpass
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path

from chain_node.wire import MEMO_SIZE_MAX, Body, Transfer
from gateway import cli_chain
from gateway.cli_chain import Chain, Sent, amount_ucpc, beside, cpc_text, sent_json, sent_text
from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError, moment_text, whole_number
from gateway.crypto import wallet_file
from puf.did import did_key
from puf.ed25519 import SigningKey

PASSPHRASE_SIZE_MAX = 4_096
HISTORY_COUNT = 20
PAGES_MAX = 1_000
"""Pages of an account's history that are looked through, though empty."""

EXAMPLES = {
    "new": "  cpc wallet new alice.wallet\n  cpc wallet new alice.wallet --passphrase-file phrase.txt --json",
    "show": "  cpc wallet show alice.wallet",
    "balance": "  cpc wallet balance alice.wallet --node http://127.0.0.1:7545 --genesis chain/genesis.cbor",
    "send": "  cpc wallet send alice.wallet --to did:key:z6Mk... --amount 1.5\n"
    "  cpc wallet send alice.wallet --to did:key:z6Mk... --amount 0.25 --memo 'bay 7' --fee 0\n"
    "  cpc wallet send alice.wallet --resume\n\n"
    "It waits until the payment is final and proven.  If it ends before that, run it again: the payment on\n"
    "its way is kept beside the wallet and is gone on with, so that it is paid once.",
    "history": "  cpc wallet history alice.wallet\n  cpc wallet history alice.wallet --count 100 --json\n\n"
    "Each line is proven; that none is missing is not, since a node may keep some back or has pruned them.",
}


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc wallet`."""
    wallet = subcommands.add_parser("wallet", help="an account: its key in an encrypted file, and its money")
    kinds = wallet.add_subparsers(dest="kind", metavar="KIND", required=True)

    def command(name: str, what: str) -> ArgumentParser:
        made = cli_chain.add_command(kinds, EXAMPLES, name, what)
        made.add_argument("wallet", type=Path, metavar="FILE", help="the wallet's file")
        return made

    new = command("new", "make a wallet with a new key")
    add_passphrase(new)
    new.add_argument("--json", action="store_true", help="print JSON")
    new.set_defaults(run=run_new)
    show = command("show", "the account of a wallet; asks for no passphrase")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=run_show)
    balance = command("balance", "how much it has, proven")
    cli_chain.add_node(balance)
    balance.set_defaults(run=run_balance)
    send = command("send", "pay an account, and wait until that is final and proven")
    send.add_argument(
        "--to", type=cli_chain.account_key, metavar="DID|HEX", help="did:key:z6Mk..., or its hex"
    )
    send.add_argument("--amount", type=amount_ucpc, metavar="CPC", help="such as 1.5")
    send.add_argument("--memo", default="", help=f"for the payee, public, at most {MEMO_SIZE_MAX} bytes")
    send.add_argument("--resume", action="store_true", help="go on with the payment that is on its way")
    add_sending(send)
    send.set_defaults(run=run_send)
    history = command("history", "what it sent and received, the newest first")
    history.add_argument(
        "--count", type=whole_number, default=HISTORY_COUNT, metavar="N", help=f"lines [{HISTORY_COUNT}]"
    )
    cli_chain.add_node(history)
    history.set_defaults(run=run_history)


def add_passphrase(command: ArgumentParser) -> None:
    """Adds --passphrase-file."""
    command.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="its first line is the passphrase [asks for it]"
    )


def add_sending(command: ArgumentParser) -> None:
    """Adds what all commands have that send a transaction."""
    command.add_argument(
        "--fee", type=amount_ucpc, metavar="CPC", help="0: one of the day's free ones [least]"
    )
    command.add_argument(
        "--wait-ms",
        type=whole_number,
        default=cli_chain.WAIT_MS,
        metavar="MS",
        help=f"for it to be final [{cli_chain.WAIT_MS}]",
    )
    add_passphrase(command)
    cli_chain.add_node(command)


def run_new(args: Namespace) -> int:
    """`cpc wallet new`."""
    if args.wallet.exists():
        raise UsageError(f"{args.wallet} exists already; take another name, or move it away first")
    made = wallet_file.create(args.wallet, _passphrase(args, "passphrase for the new wallet: ", is_new=True))
    output = Output(args)
    _show(output, made)
    output.line("keep a copy of the file, and the passphrase apart from it: without both the money is gone")
    return EXIT_OK


def run_show(args: Namespace) -> int:
    """`cpc wallet show`."""
    _show(Output(args), wallet_file.load(args.wallet))
    return EXIT_OK


async def run_balance(args: Namespace) -> int:
    """`cpc wallet balance`."""
    output, wallet = Output(args), wallet_file.load(args.wallet)
    async with Chain(args, output, beside(args.wallet, ".chain")) as chain:
        account = await chain.account(wallet.public)
        height = chain.client.head.height
        output.value(
            {
                "account": did_key(wallet.public),
                "balance_ucpc": account.balance_ucpc,
                "locked_ucpc": account.locked_ucpc,
                "nonce": account.nonce,
                "height": height,
            },
            f"{cpc_text(account.balance_ucpc)}"
            + (f", and {cpc_text(account.locked_ucpc)} in escrow" if account.locked_ucpc else "")
            + f"\n  proven: it is so after block {height}",
        )
    return EXIT_OK


async def run_send(args: Namespace) -> int:
    """`cpc wallet send`."""
    output, wallet = Output(args), wallet_file.load(args.wallet)
    if args.resume == bool(args.to or args.amount) or (args.to is None) != (args.amount is None):
        raise UsageError("say --to and --amount, or --resume alone")
    memo = args.memo.encode()
    if len(memo) > MEMO_SIZE_MAX:
        raise UsageError(f"the memo has {len(memo)} bytes, at most {MEMO_SIZE_MAX} are taken")
    if args.amount == 0:
        raise UsageError("the least amount is 0.000001")
    body = None if args.resume else Transfer(args.to, args.amount, memo)
    async with Chain(args, output, beside(args.wallet, ".chain")) as chain:
        sent = await deliver(args, chain, wallet, body)
        paid = sent.transaction.body
        assert isinstance(paid, Transfer) or args.resume  # noqa: S101 - it is the body given
        shown: dict[str, object] = {"kind": type(paid).__name__}
        text = f"{type(paid).__name__}, as was on its way"
        if isinstance(paid, Transfer):
            shown |= {"to": did_key(paid.to), "amount_ucpc": paid.amount_ucpc}
            text = f"{cpc_text(paid.amount_ucpc)} to {did_key(paid.to)}"
        output.value(shown | sent_json(sent), f"{text}\n{sent_text(sent, chain.client)}")
    return EXIT_OK if sent.is_applied else EXIT_FAILED


async def run_history(args: Namespace) -> int:
    """`cpc wallet history`."""
    output, wallet = Output(args), wallet_file.load(args.wallet)
    async with Chain(args, output, beside(args.wallet, ".chain")) as chain:
        shown = 0
        before: tuple[int, int] | None = None
        for _ in range(PAGES_MAX):
            page = await chain.node.get_history(wallet.public, min(max(args.count - shown, 1), 100), before)
            for tx_hash in page.tx_hashes[: args.count - shown]:
                sent = await chain.confirmed(tx_hash)
                if sent is None:
                    output.problem("NotProven", f"{tx_hash.hex()}: the node has no proof of it")
                    continue
                _show_line(output, wallet.public, sent)
                shown += 1
            before = page.before
            if before is None or shown >= args.count:
                break
        if not shown:
            output.line("nothing that this node knows of")
    return EXIT_OK


async def deliver(args: Namespace, chain: Chain, wallet: wallet_file.Wallet, body: Body | None) -> Sent:
    """Send this, or go on with it; body: None goes on with whatever is on its way.

    Raises UsageError when something else is on its way.
    """
    pending = beside(args.wallet, ".pending")
    waiting = cli_chain.read_pending(pending)
    if waiting:
        if body is not None and waiting.body != body:
            raise UsageError(
                f"another transaction is on its way ({waiting.tx_hash.hex()}); first find out what became of "
                f"it: cpc wallet send {args.wallet} --resume"
            )
        return await chain.settle(waiting, pending, args.wait_ms)
    if body is None:
        raise UsageError("nothing is on its way; say --to and --amount")
    key = unlock(args, wallet)
    return await chain.send(key, body, args.fee, pending, args.wait_ms)


def unlock(args: Namespace, wallet: wallet_file.Wallet) -> SigningKey:
    """The wallet's key.  Raises WrongPassphrase."""
    return wallet.unlock(_passphrase(args, f"passphrase of {wallet.path}: ", is_new=False))


def _passphrase(args: Namespace, prompt: str, is_new: bool) -> str:
    if args.passphrase_file:
        try:
            text: str = args.passphrase_file.read_bytes()[:PASSPHRASE_SIZE_MAX].decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{args.passphrase_file} holds no passphrase: {error}") from error
        return text.partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the passphrase on; say --passphrase-file FILE")
    phrase = getpass.getpass(prompt)
    if is_new and getpass.getpass("the same again: ") != phrase:
        raise UsageError("the two are not the same; nothing was written")
    return phrase


def _show(output: Output, wallet: wallet_file.Wallet) -> None:
    output.value(
        {"did": did_key(wallet.public), "account": wallet.public.hex(), "file": str(wallet.path)},
        f"account {did_key(wallet.public)}\nin hex  {wallet.public.hex()}",
    )


def _show_line(output: Output, public: bytes, sent: Sent) -> None:
    body, header = sent.transaction.body, sent.evidence.link.header
    shown: dict[str, object] = {"kind": type(body).__name__, "is_sender": sent.transaction.sender == public}
    text = type(body).__name__
    if isinstance(body, Transfer):
        is_out = sent.transaction.sender == public
        other = body.to if is_out else sent.transaction.sender
        shown |= {
            "from": did_key(sent.transaction.sender),
            "to": did_key(body.to),
            "amount_ucpc": body.amount_ucpc,
            "memo": body.memo.hex(),
        }
        sign, way = ("-", "to") if is_out else ("+", "from")
        text = f"{sign}{cpc_text(body.amount_ucpc)} {way} {did_key(other)}"
        if body.memo:
            text += f'  "{body.memo.decode(errors="replace")}"'
    if not sent.is_applied:
        text += f"  NO effect: {sent.receipt.reason.label}"
    moment = moment_text(header.time_ms * 1_000_000)
    output.value(shown | sent_json(sent), f"{moment}  block {header.height}  {text}")
