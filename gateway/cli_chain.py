"""What commands for accounts and names share: a node that is not trusted, a light client, and transactions.

Runs on CPython.  Part of the command line.  Beside a wallet FILE lie two more files:

    FILE.chain     the genesis trusted and the last block followed to: CBOR map 1 genesis, 2 head
    FILE.pending   a signed transaction in hex, from before it is sent until its fate is proven

So whoever sends again after a crash or a lost link sends the same transaction, which the chain takes once.
"""

import asyncio
import os
import re
import time
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chain_node.errors import NodeBusy, NodeUnavailable, Refused, WireError
from chain_node.light_client import LightClient
from chain_node.validator_set import ENTRY_KEY
from chain_node.wire import (
    SUPPLY_UCPC,
    Account,
    Body,
    Genesis,
    Reason,
    Receipt,
    Transaction,
    TransactionEvidence,
    ValidatorsEntry,
)
from gateway.cli_output import Output, UsageError
from gateway.errors import GatewayError
from puf import cbor
from puf.did import ED25519, parse_did_key
from puf.ed25519 import SigningKey
from puf.errors import DecodeError, PufError

NODE = "http://127.0.0.1:7545"
WAIT_MS = 60_000
"""How long a command waits for a transaction to be final, unless told otherwise."""
POLL_MS = 250
VALID_BLOCKS = 1_000
"""A transaction that is in no block by then never will be, and another one may take its place."""
PIN_SIZE_MAX = 6 << 20
PENDING_SIZE_MAX = 1 << 18
_AMOUNT = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,6}))?", re.ASCII)


class NotFinal(GatewayError):
    """A transaction whose fate is not known yet; its file is kept, and the same command goes on with it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that is on the chain, proven."""

    transaction: Transaction
    evidence: TransactionEvidence
    receipt: Receipt

    @property
    def is_applied(self) -> bool:
        """Whether it had its effect."""
        return self.receipt.reason == Reason.APPLIED


def amount_ucpc(text: str) -> int:
    """The type of options that are amounts: CPC, in decimal, exactly."""
    match = _AMOUNT.fullmatch(text)
    value = int(match[1]) * 1_000_000 + int((match[2] or "").ljust(6, "0")) if match else -1
    if not 0 <= value <= SUPPLY_UCPC:
        raise ArgumentTypeError(f"{text!r} is no amount in CPC, such as 1.5; the least is 0.000001")
    return value


def cpc_text(value_ucpc: int) -> str:
    """An amount for a person to read: 1500000 -> "1.5 CPC"."""
    whole, rest = divmod(value_ucpc, 1_000_000)
    return f"{whole}{f'.{rest:06d}'.rstrip('0') if rest else ''} CPC"


def account_key(text: str) -> bytes:
    """The type of options that name an account: did:key:z6Mk... or 64 hex digits."""
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return bytes.fromhex(text)
    try:
        codec, public = parse_did_key(text)
    except PufError as error:
        raise ArgumentTypeError(
            f"{text!r} is no account: write did:key:z6Mk... or its key in 64 hex digits ({error})"
        ) from None
    if codec != ED25519:
        raise ArgumentTypeError(f"{text!r} is a key for sealing; an account's reads did:key:z6Mk...")
    return public


def add_command(
    kinds: "_SubParsersAction[ArgumentParser]", examples: Mapping[str, str], name: str, what: str
) -> ArgumentParser:
    """One command among its kind, its help with its examples."""
    return kinds.add_parser(
        name,
        help=what,
        formatter_class=RawDescriptionHelpFormatter,
        epilog=f"examples:\n{examples[name]}",
    )


def add_node(command: ArgumentParser) -> None:
    """Adds --node, --genesis and --json."""
    command.add_argument("--node", default=NODE, metavar="URL", help=f"a node's JSON-RPC address [{NODE}]")
    command.add_argument(
        "--genesis", type=Path, metavar="FILE", help="of the chain to trust [what was trusted first]"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


class Chain:
    """A node and what is trusted of its chain.  pin: where that is kept; None: nowhere."""

    def __init__(self, args: Namespace, output: Output, pin: Path | None) -> None:
        # Only here: aiohttp takes long to load, and every command has these options.
        from chain_node.light_http import NodeClient

        self.node: NodeClient = NodeClient(args.node)
        self._genesis_path: Path | None = args.genesis
        self._output = output
        self._pin = pin
        self._client: LightClient | None = None

    @property
    def client(self) -> LightClient:
        """The light client, followed to the node's head."""
        assert self._client, "inside of async with"  # noqa: S101 - only a bug gets here
        return self._client

    async def __aenter__(self) -> "Chain":
        try:
            self._client = await self._trusted()
            await self.follow()
        except BaseException:
            await self.node.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.node.close()

    async def follow(self, height: int | None = None) -> None:
        """Follow the node's headers, and keep how far.  Raises TrustError, UsageError."""
        before = self.client.head.height
        # Asked first: a block that comes after the last header was read is no missing one.
        shown = height or (await self.node.chain_info()).height
        await self.node.follow(self.client, height)
        if self.client.head.height == before and shown > before:
            raise UsageError(
                f"the node does not keep the headers after block {before}, to which this was followed; "
                "ask a node that does: --node URL"
            )
        if self._pin and self.client.head.height > before:
            data = cbor.encode({1: self.client.genesis.data, 2: self.client.export()})
            write_file(self._pin, data)

    async def account(self, public: bytes) -> Account:
        """An account, proven, after a block not before the head."""
        answer = await self.node.get_account(public)
        await self._reach(answer.evidence.link.header.height)
        return self.client.confirm_account(public, answer.evidence)

    async def validators(self) -> ValidatorsEntry:
        """Who the validators are and who comes next, proven, after a block not before the head."""
        evidence = await self.node.get_state(ENTRY_KEY)
        await self._reach(evidence.link.header.height)
        return self.client.confirm_validators(evidence)

    async def send(
        self, key: SigningKey, body: Body, fee_ucpc: int | None, pending: Path, wait_ms: int
    ) -> Sent:
        """Sign, keep, hand in and wait.  fee_ucpc: None: the least.  Raises NotFinal, Refused."""
        genesis = self.client.genesis
        transaction = Transaction.sign(
            key,
            genesis.chain_id,
            (await self.account(key.public)).nonce,
            body,
            genesis.fee_min_ucpc if fee_ucpc is None else fee_ucpc,
            self.client.head.height + VALID_BLOCKS,
        )
        write_file(pending, transaction.data.hex().encode() + b"\n")
        return await self.settle(transaction, pending, wait_ms)

    async def settle(self, transaction: Transaction, pending: Path, wait_ms: int) -> Sent:
        """Hand in until it is proven what became of it; `pending` is then gone.  Raises NotFinal, Refused."""
        deadline_ms = time.monotonic_ns() // 1_000_000 + wait_ms
        why = "no block has it yet"
        while True:
            pause_ms = POLL_MS
            try:
                if sent := await self._try(transaction):
                    forget(pending)
                    return sent
                account = await self.account(transaction.sender)
                is_late = self.client.head.height > (transaction.valid_until or self.client.head.height)
                if account.nonce > transaction.nonce or is_late:
                    # Once more: it may have become final between the two questions.
                    sent = await self._try(transaction)
                    if sent:
                        forget(pending)
                        return sent
                    raise Refused(
                        Reason.EXPIRED if is_late else Reason.NONCE_USED,
                        f"transaction {transaction.tx_hash.hex()} will never be on the chain: "
                        + ("its time is over" if is_late else "another one has taken its nonce"),
                    )
            except Refused:
                # The node's word, not proven; but the next one has the same nonce: the chain takes one.
                forget(pending)
                raise
            except NodeBusy as busy:
                why, pause_ms = busy.why, busy.retry_after_ms
            except NodeUnavailable as error:
                why = error.why
            now_ms = time.monotonic_ns() // 1_000_000
            if now_ms + pause_ms > deadline_ms:
                raise NotFinal(
                    f"transaction {transaction.tx_hash.hex()} is not final yet ({why}); "
                    "run the same command again: it goes on with this one, and pays once"
                )
            await asyncio.sleep(pause_ms / 1000)

    async def confirmed(self, tx_hash: bytes) -> Sent | None:
        """A final transaction with its evidence checked; None: the node says that it is not final."""
        answer = await self.node.get_transaction(tx_hash)
        if answer.evidence is None:
            return None
        await self._reach(answer.evidence.link.header.height)
        receipt = self.client.confirm_transaction(answer.evidence)
        return Sent(Transaction.decode(answer.evidence.transaction), answer.evidence, receipt)

    async def _try(self, transaction: Transaction) -> Sent | None:
        """What is proven of it; if nothing is, it is handed in again."""
        if sent := await self.confirmed(transaction.tx_hash):
            return sent
        try:
            await self.node.submit(transaction)
        except Refused as error:
            # Only what is proven ends it, unless it never was anything that a chain could take.
            if error.reason in (Reason.NONCE_USED, Reason.EXPIRED, Reason.NONCE_AHEAD, Reason.NONCE_PENDING):
                return None
            raise
        return None

    async def _reach(self, height: int) -> None:
        if self.client.head.height < height:
            await self.follow(height)

    async def _trusted(self) -> LightClient:
        kept = read_pin(self._pin) if self._pin and self._pin.exists() else None
        if self._genesis_path:
            given = read_genesis(self._genesis_path)
            if kept and kept.genesis.chain_id != given.chain_id:
                raise UsageError(
                    f"{self._genesis_path} is of chain {given.chain_id.hex()}, but {self._pin} trusts "
                    f"{kept.genesis.chain_id.hex()}; move {self._pin} away first"
                )
            return kept or LightClient(given)
        if kept:
            return kept
        genesis = await self.node.genesis()
        self._output.note(
            f"trusting chain {genesis.name} {genesis.chain_id.hex()}, as this node says; "
            "--genesis FILE would be sure"
        )
        return LightClient(genesis)


def read_genesis(path: Path) -> Genesis:
    """The genesis in this file.  Raises UsageError."""
    try:
        return Genesis.decode(path.read_bytes())
    except (OSError, WireError) as error:
        raise UsageError(f"{path} is no genesis: {error}") from error


def read_pin(path: Path) -> LightClient:
    """What was trusted before.  Raises UsageError."""
    try:
        value = cbor.decode(path.read_bytes(), PIN_SIZE_MAX, 2)
        if not isinstance(value, dict) or set(value) != {1, 2}:
            raise WireError("trusted chain", "it is no map of genesis and head")
        return LightClient.restore(Genesis.decode(value[1]), value[2])
    except (OSError, WireError, DecodeError) as error:
        raise UsageError(f"{path} does not say which chain is trusted ({error}); move it away") from error


def read_pending(path: Path) -> Transaction | None:
    """The transaction whose fate is not known yet; None: there is none.  Raises UsageError."""
    try:
        text = path.read_bytes()[:PENDING_SIZE_MAX]
        return Transaction.decode(bytes.fromhex(text.decode("ascii").strip()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, Refused) as error:
        raise UsageError(
            f"{path} should hold a transaction on its way: {error}; move it away once you know its fate"
        ) from error


def forget(pending: Path) -> None:
    """What was on its way has arrived, or never will."""
    pending.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Put `data` in place of what is there, so that a power cut leaves one or the other.  Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def beside(wallet: Path, suffix: str) -> Path:
    """A file that belongs to a wallet."""
    return wallet.with_name(wallet.name + suffix)


def sent_json(sent: Sent) -> dict[str, object]:
    """What is proven of a transaction."""
    header = sent.evidence.link.header
    return {
        "status": "final",
        "tx_hash": sent.transaction.tx_hash.hex(),
        "height": header.height,
        "index": sent.evidence.proof.index,
        "block_hash": header.block_hash.hex(),
        "time_ms": header.time_ms,
        "nonce": sent.transaction.nonce,
        "fee_ucpc": sent.receipt.fee_ucpc,
        "reason": sent.receipt.reason.label,
        "signers": [index for index, _ in sent.evidence.link.certificate.signatures],
    }


def sent_text(sent: Sent, client: LightClient) -> str:
    """The same for people: what was checked, line by line."""
    header, count = sent.evidence.link.header, len(sent.evidence.link.certificate.signatures)
    validators = client.validators.sets.at(header.height).keys
    outcome = "it had its effect" if sent.is_applied else f"it had NO effect: {sent.receipt.reason.label}"
    return (
        f"transaction  {sent.transaction.tx_hash.hex()}\n"
        f"  proven: it is number {sent.evidence.proof.index} of block {header.height}\n"
        f"  proven: its receipt says that {outcome}; fee {cpc_text(sent.receipt.fee_ucpc)}\n"
        f"  proven: the block is certified by {count} of {len(validators)} validators"
    )
