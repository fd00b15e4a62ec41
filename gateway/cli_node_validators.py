"""`cpc node validators`: change who the validators of a chain are, as those who are now agree.

Runs on CPython.  Part of the command line.  A change is a file that goes around: who proposes makes it, each
operator of a validator signs it with the node's key, and anybody with a wallet sends it.  The file is JSON:

    chain_id, number       which chain, and which set of validators is replaced
    from_height            the first block that the new ones certify
    replaces, validators   public keys of the old set and of the new one, each in the order of its indexes
    approvals              {index in the old set: signature}

chain_node/validator_set.py says what is signed, and what the chain takes.
"""

import json
from argparse import ArgumentParser, Namespace, _SubParsersAction
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from chain_node import quorum
from chain_node.fields import INT_MAX
from chain_node.validator_set import (
    LEAD_BLOCKS_MAX,
    NOTICE_BLOCKS,
    VALIDATORS_MAX,
    ValidatorsChange,
    ValidatorSet,
)
from gateway import cli_chain
from gateway.cli_chain import Chain, account_key, beside, sent_json, sent_text, write_file
from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError, short, whole_number
from gateway.cli_wallet import add_sending, deliver
from gateway.crypto import wallet_file

LEAD_BLOCKS = 1_000
"""From the head to the height of a change, unless --at says another: time to gather approvals in."""
FILE_SIZE_MAX = 1 << 16

EXAMPLES = {
    "propose": "  cpc node validators propose change.json --add 3b6a... --drop d044...\n"
    "  cpc node validators propose change.json --add did:key:z6Mk... --at 5000 --node URL\n\n"
    "`cpc node init` and `cpc node status --json` tell a node's key.  One that enters should follow the\n"
    "chain before its height comes.  The change must be on the chain "
    f"{NOTICE_BLOCKS} blocks before that height, or\nall has to be signed anew.",
    "approve": "  cpc node validators approve change.json net/validator-1\n"
    "  cpc node validators approve change.json net/validator-1 --offline\n\n"
    "Signs with the key of the node of this folder, after its own node was asked who the validators are.\n"
    "Operators may sign one file after the other, or each a copy of it.",
    "send": "  cpc node validators send alice.wallet change.json\n"
    "  cpc node validators send alice.wallet from-1.json from-2.json from-3.json --node URL\n\n"
    "Whoever sends it only pays the fee.  It waits until the change is final and proven.",
}


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """A change on its way to the chain."""

    chain_id: bytes
    replaced: ValidatorSet
    """As the file says; of its `from_height` nothing is known."""
    change: ValidatorsChange

    @property
    def missing(self) -> int:
        """How many approvals it lacks."""
        return max(quorum.size(len(self.replaced.keys)) - len(self.change.approvals), 0)

    def text(self) -> str:
        """The file's text."""
        change = self.change
        value = {
            "chain_id": self.chain_id.hex(),
            "number": change.number,
            "from_height": change.from_height,
            "replaces": [key.hex() for key in self.replaced.keys],
            "validators": [key.hex() for key in change.keys],
            "approvals": {str(index): signature.hex() for index, signature in change.approvals},
        }
        return json.dumps(value, indent=2) + "\n"

    def with_approval(self, index: int, signature: bytes) -> "ChangeFile":
        """The same with one more validator's approval."""
        approvals = dict(self.change.approvals) | {index: signature}
        return replace(self, change=replace(self.change, approvals=tuple(sorted(approvals.items()))))

    @classmethod
    def read(cls, path: Path) -> "ChangeFile":
        """Raises UsageError, also when an approval in it does not hold."""
        try:
            with path.open("rb") as file:
                value: Any = json.loads(file.read(FILE_SIZE_MAX))
            replaced = ValidatorSet(_number(value["number"]), 0, _keys(value["replaces"]))
            approvals = sorted(
                (int(index), bytes.fromhex(each)) for index, each in value["approvals"].items()
            )
            change = ValidatorsChange(
                replaced.number, _number(value["from_height"]), _keys(value["validators"]), tuple(approvals)
            )
            found = cls(bytes.fromhex(value["chain_id"]), replaced, change)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path} holds no change of validators: {error!r}") from error
        for index, signature in change.approvals:
            if not 0 <= index < len(replaced.keys) or not change.is_approved(
                index, signature, found.chain_id, replaced
            ):
                raise UsageError(f"{path}: the approval of validator {index} is not by its key; take it out")
        return found


def add(kinds: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc node validators`."""
    validators = kinds.add_parser(
        "validators", help="change who the validators are, as a quorum of them agrees"
    )
    steps = validators.add_subparsers(dest="step", metavar="STEP", required=True)

    command = partial(cli_chain.add_command, steps, EXAMPLES)

    propose = command("propose", "write a change, for the validators' operators to sign")
    propose.add_argument("file", type=Path, metavar="FILE", help="to be written")
    propose.add_argument(
        "--add",
        type=account_key,
        action="append",
        default=[],
        metavar="KEY",
        help="who enters; repeat for more",
    )
    propose.add_argument(
        "--drop",
        type=account_key,
        action="append",
        default=[],
        metavar="KEY",
        help="who leaves; repeat for more",
    )
    propose.add_argument(
        "--at",
        type=whole_number,
        metavar="HEIGHT",
        help=f"first block of the new ones [{LEAD_BLOCKS} from now]",
    )
    cli_chain.add_node(propose)
    propose.set_defaults(run=run_propose)
    approve = command("approve", "sign a change with the key of a validator's node")
    approve.add_argument("file", type=Path, metavar="FILE", help="the change; the approval is added to it")
    approve.add_argument("folder", type=Path, metavar="DIR", help="of the validator's node")
    approve.add_argument("--offline", action="store_true", help="do not ask the node who the validators are")
    approve.add_argument("--json", action="store_true", help="print JSON")
    approve.set_defaults(run=run_approve)
    send = command("send", "bring a change that enough have signed on the chain")
    send.add_argument("wallet", type=Path, metavar="WALLET", help="whose account pays")
    send.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="the change, or signed copies of it"
    )
    add_sending(send)
    send.set_defaults(run=run_send)


async def run_propose(args: Namespace) -> int:
    """`cpc node validators propose`."""
    output = Output(args)
    if args.file.exists():
        raise UsageError(f"{args.file} exists already; take another name, or move it away first")
    async with Chain(args, output, None) as chain:
        height = chain.client.head.height
        entry = await chain.validators()
        if pending := entry.pending(height + 1):
            raise UsageError(
                f"set {pending.number} of validators takes over at block {pending.from_height}; "
                f"propose another change after that, the head is at {height}"
            )
        replaced = entry.newest
        at = height + LEAD_BLOCKS if args.at is None else args.at
        first, last = height + 1 + NOTICE_BLOCKS, height + LEAD_BLOCKS_MAX
        if not first <= at <= last:
            raise UsageError(f"--at is {at}; after block {height} it can be from {first} to {last}")
        found = ChangeFile(
            chain.client.genesis.chain_id,
            replaced,
            ValidatorsChange(replaced.number, at, _changed(replaced.keys, args.add, args.drop), ()),
        )
    write_file(args.file, found.text().encode())
    _show(output, found, f"next: cpc node validators approve {args.file} DIR, by {found.missing} of them")
    return EXIT_OK


async def run_approve(args: Namespace) -> int:
    """`cpc node validators approve`."""
    from chain_node.folder_files import read_key
    from chain_node.light_http import NodeClient
    from chain_node.node_folder import read_genesis
    from gateway import cli_node_config

    output, found = Output(args), ChangeFile.read(args.file)
    settings = cli_node_config.load(args.folder)
    chain_id = read_genesis(args.folder / settings.genesis).chain_id
    if found.chain_id != chain_id:
        raise UsageError(f"{args.file} is for chain {found.chain_id.hex()}, this node's is {chain_id.hex()}")
    key = read_key(args.folder / settings.key_file, "put the node's key back")
    replaced = found.replaced.keys
    if key.public not in replaced:
        raise UsageError(f"this node, {key.public.hex()}, is none of the validators that the change replaces")
    if not args.offline:
        async with NodeClient(f"http://{settings.rpc}") as client:
            said = await client.ask("validators")
        members: Any = said.get("validators")
        present = [each.get("public") for each in members] if isinstance(members, list) else []
        if (said.get("number"), present) != (found.change.number, [each.hex() for each in replaced]):
            raise UsageError(
                f"this node has set {said.get('number')} of validators in force, and {args.file} replaces "
                f"set {found.change.number}: it was made before another change, or for other validators"
            )
    signed = found.with_approval(replaced.index(key.public), found.change.approve(key, chain_id))
    write_file(args.file, signed.text().encode())
    following = (
        f"{signed.missing} more must approve"
        if signed.missing
        else "next: cpc node validators send WALLET FILE"
    )
    _show(output, signed, f"approved by validator {replaced.index(key.public)}\n{following}")
    return EXIT_OK


async def run_send(args: Namespace) -> int:
    """`cpc node validators send`."""
    output, wallet = Output(args), wallet_file.load(args.wallet)
    found = ChangeFile.read(args.files[0])
    for path in args.files[1:]:
        other = ChangeFile.read(path)
        if replace(other.change, approvals=()) != replace(found.change, approvals=()):
            raise UsageError(f"{path} is another change than {args.files[0]}")
        for index, signature in other.change.approvals:
            found = found.with_approval(index, signature)
    if found.missing:
        absent = sorted(set(range(len(found.replaced.keys))) - {index for index, _ in found.change.approvals})
        raise UsageError(f"{found.missing} more must approve, of validators {', '.join(map(str, absent))}")
    async with Chain(args, output, beside(args.wallet, ".chain")) as chain:
        if chain.client.genesis.chain_id != found.chain_id:
            raise UsageError(
                f"{args.files[0]} is for chain {found.chain_id.hex()}, which this node is not on"
            )
        sent = await deliver(args, chain, wallet, found.change)
        shown = {"from_height": found.change.from_height, "number": found.change.number + 1}
        output.value(
            shown | sent_json(sent),
            f"set {found.change.number + 1} of validators, from block {found.change.from_height} on\n"
            f"{sent_text(sent, chain.client)}",
        )
    return EXIT_OK if sent.is_applied else EXIT_FAILED


def status_lines(said: dict[str, object]) -> list[str]:
    """What a node says of the validators, for `cpc node status`."""
    present, pending = said.get("validators"), said.get("pending")
    count = len(present) if isinstance(present, list) else 0
    lines = [
        (
            f"validators: set {said.get('number')}, in force from block {said.get('from_height')} on; "
            f"{count}, of whom {said.get('quorum')} make a block final"
        )
    ]
    if isinstance(pending, dict):
        coming = pending.get("validators")
        new = [short(str(each)) for each in coming] if isinstance(coming, list) else []
        lines.append(
            f"  set {pending.get('number')} takes over at block {pending.get('from_height')}: "
            f"{len(new)}, {', '.join(new)}"
        )
    return lines


def _show(output: Output, found: ChangeFile, following: str) -> None:
    change, old = found.change, found.replaced.keys
    entering = [key.hex() for key in change.keys if key not in old]
    leaving = [key.hex() for key in old if key not in change.keys]
    lines = [
        (
            f"set {change.number + 1} of validators in the place of set {change.number}, "
            f"from block {change.from_height} on: {len(change.keys)} in the place of {len(old)}"
        ),
        *(f"  enters {key}" for key in entering),
        *(f"  leaves {key}" for key in leaving),
        following,
    ]
    output.value(
        {
            "number": change.number + 1,
            "from_height": change.from_height,
            "validators": [key.hex() for key in change.keys],
            "enters": entering,
            "leaves": leaving,
            "approvals": [index for index, _ in change.approvals],
            "missing_count": found.missing,
        },
        "\n".join(lines),
    )


def _changed(old: tuple[bytes, ...], entering: list[bytes], leaving: list[bytes]) -> tuple[bytes, ...]:
    """The new set: who leaves makes room for who enters, at the same index."""
    for key in leaving:
        if key not in old:
            raise UsageError(f"--drop {key.hex()} is none of the {len(old)} validators")
    if again := [key for key in entering if key in old or entering.count(key) > 1]:
        raise UsageError(f"--add {again[0].hex()} is a validator already, or named twice")
    waiting = list(entering)
    keys = []
    for key in old:
        if key not in leaving:
            keys.append(key)
        elif waiting:
            keys.append(waiting.pop(0))
    keys += waiting
    if not 1 <= len(keys) <= VALIDATORS_MAX:
        raise UsageError(f"a chain has 1 to {VALIDATORS_MAX} validators, these would be {len(keys)}")
    if tuple(keys) == old:
        raise UsageError("that changes nothing; say --add or --drop")
    return tuple(keys)


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= INT_MAX:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _keys(value: list[str]) -> tuple[bytes, ...]:
    keys = tuple(bytes.fromhex(each) for each in value)
    if (
        not keys
        or len(keys) > VALIDATORS_MAX
        or len(set(keys)) != len(keys)
        or {len(key) for key in keys} != {32}
    ):
        raise ValueError("its validators are none, too many, no keys, or one of them twice")
    return keys
