"""Holds what clients have seen against the chain that came of it.

Runs on CPython; pure.  A chain is one order of everything, so most is decided by looking things up:

    every chain begins as the longest does
    the books, kept here from the blocks alone, give each balance that was read, at the height it was read at
    what was accepted is in one block, once
    what returned before something else was called comes before it on the chain

and beside that, without any chain, each account's operations are looked through for an order that explains
all balances read of it: Wing and Gong's search, for histories short enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chain_node.genesis import Genesis
from chain_node.reason import Reason
from chain_node.transaction import Receipt, Transaction, Transfer
from tests.nemesis.operations import History, Pay, Read

SEARCH_OPERATIONS_MAX = 200
"""Operations of one account beyond which an order is not searched for."""
SEARCH_STEPS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class ChainBlock:
    """One final block, as one node has it."""

    block_hash: bytes
    proposer: bytes
    transactions: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """What a chain says."""

    balances: list[dict[bytes, int]]
    """By height; [0] is the genesis."""
    places: dict[bytes, list[tuple[int, int]]]
    """(height, index) by transaction: where it is."""


def keep_books(genesis: Genesis, blocks: Sequence[ChainBlock]) -> Books:
    """Replay transfers without the product's ledger.  blocks: from height 1 on."""
    balances = [dict(genesis.balances)]
    places: dict[bytes, list[tuple[int, int]]] = {}
    for height, block in enumerate(blocks, 1):
        now = dict(balances[-1])
        for index, (data, receipt) in enumerate(zip(block.transactions, block.receipts, strict=True)):
            transaction = Transaction.decode(data)
            places.setdefault(transaction.tx_hash, []).append((height, index))
            now[transaction.sender] -= transaction.fee_ucpc
            now[block.proposer] = now.get(block.proposer, 0) + transaction.fee_ucpc
            if receipt.reason == Reason.APPLIED:
                assert isinstance(transaction.body, Transfer)
                now[transaction.sender] -= transaction.body.amount_ucpc
                now[transaction.body.to] = now.get(transaction.body.to, 0) + transaction.body.amount_ucpc
        balances.append(now)
    return Books(balances, places)


def check_prefixes(chains: Mapping[str, Sequence[bytes]]) -> list[str]:
    """Block hashes from height 1 on, by node: each is how the longest begins."""
    longest_name = max(chains, key=lambda name: len(chains[name]))
    longest = chains[longest_name]
    problems = []
    for name, chain in chains.items():
        for height, (ours, theirs) in enumerate(zip(chain, longest, strict=False), 1):
            if ours != theirs:
                problems.append(
                    f"fork: block {height} is {ours.hex()[:16]} at {name}, "
                    f"{theirs.hex()[:16]} at {longest_name}"
                )
                break
    return problems


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history came to."""

    problems: list[str]
    """All that does not hold; each a sentence."""
    searched: int
    """Accounts for which an order was looked for and found."""
    not_searched: int
    """Accounts with too many operations, or too many orders; the chain has decided about them, too."""


def check(history: History, books: Books, supply_ucpc: int) -> Verdict:
    """Everything in the head of this file but prefixes."""
    problems = [
        f"money: after block {height} there are {total_ucpc} ucpc, not {supply_ucpc}"
        for height, balances in enumerate(books.balances)
        if (total_ucpc := sum(balances.values())) != supply_ucpc
    ]
    problems += _check_accepted(history, books)
    problems += _check_reads(history, books)
    problems += _check_order(history, books)
    searched = not_searched = 0
    for account in books.balances[0]:
        pays = [pay for pay in history.pays if account in (pay.payer, pay.payee)]
        reads = [read for read in history.reads if read.account == account and read.is_settled]
        found = None
        if len(pays) + len(reads) <= SEARCH_OPERATIONS_MAX:
            found = search(account, books.balances[0][account], pays, reads)
        searched += found is True
        not_searched += found is None
        if found is False:
            problems.append(
                f"linearizability: no order explains the balances that were read of {account.hex()[:16]}"
            )
    return Verdict(problems, searched, not_searched)


def _check_accepted(history: History, books: Books) -> list[str]:
    problems = []
    for pay in history.pays:
        count = len(books.places.get(pay.tx_hash, ()))
        name = f"transfer {pay.tx_hash.hex()[:16]} of client {pay.client}"
        if count > 1:
            problems.append(f"twice: {name} is in {count} places of the chain")
        elif count == 0 and pay.accepted_ns is not None:
            was = "shown as final" if pay.returned_ns is not None else "accepted"
            problems.append(f"lost: {name} was {was} and is in no block")
    return problems


def _check_reads(history: History, books: Books) -> list[str]:
    problems = []
    for read in history.reads:
        if read.height >= len(books.balances):
            problems.append(f"read: client {read.client} was shown block {read.height}, which there is not")
            continue
        balance_ucpc = books.balances[read.height].get(read.account, 0)
        if read.balance_ucpc != balance_ucpc:
            problems.append(
                f"read: client {read.client} was shown {read.balance_ucpc} ucpc of "
                f"{read.account.hex()[:16]} after block {read.height}, where it has {balance_ucpc}"
            )
    return problems


def _check_order(history: History, books: Books) -> list[str]:
    """Returned before called: comes before."""
    ends: list[tuple[int, tuple[int, int], str]] = []
    begins: list[tuple[int, tuple[int, int], str]] = []
    for pay in history.pays:
        for place in books.places.get(pay.tx_hash, ())[:1]:
            name = f"transfer {pay.tx_hash.hex()[:16]} in block {place[0]}"
            begins.append((pay.called_ns, place, name))
            if pay.returned_ns is not None:
                ends.append((pay.returned_ns, place, name))
    for read in history.reads:
        # After all transactions of its block, and before those of the next.
        place = (read.height, 1 << 62)
        name = f"read of client {read.client} after block {read.height}"
        ends.append((read.returned_ns, place, name))
        if read.is_settled:
            begins.append((read.called_ns, place, name))
    ends.sort()
    begins.sort()
    problems = []
    latest: tuple[tuple[int, int], str] = ((0, 0), "")
    waiting = iter(ends)
    end = next(waiting, None)
    for called_ns, place, name in begins:
        while end and end[0] < called_ns:
            latest = max(latest, end[1:])
            end = next(waiting, None)
        if place < latest[0]:
            problems.append(f"order: {name} was called after {latest[1]} had returned")
    return problems


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation on one account."""

    called_ns: int
    returned_ns: int | None
    """None: it may happen at any time after its call, or never."""
    change_ucpc: int
    shown_ucpc: int | None
    """What a read has shown; None: it is none."""


def search(account: bytes, begin_ucpc: int, pays: Sequence[Pay], reads: Sequence[Read]) -> bool | None:
    """Whether an order of these operations within their times explains what was read; None: not decided.

    Source: Wing and Gong, Testing and Verifying Concurrent Objects, 1993, with the states that were met
    remembered, as Lowe does.  A balance is a sum, so a state is the set of operations that happened.
    """
    steps = []
    for pay in pays:
        change_ucpc = pay.amount_ucpc * (pay.payee == account)
        change_ucpc -= (pay.amount_ucpc + pay.fee_ucpc) * (pay.payer == account)
        steps.append(_Step(pay.called_ns, pay.returned_ns, change_ucpc, None))
    steps += [_Step(read.called_ns, read.returned_ns, 0, read.balance_ucpc) for read in reads]
    steps.sort(key=lambda step: step.called_ns)
    must = sum(1 << index for index, step in enumerate(steps) if step.returned_ns is not None)
    waiting = [(0, begin_ucpc)]
    met = {0}
    count = 0
    while waiting:
        happened, balance_ucpc = waiting.pop()
        if happened & must == must:
            return True
        count += 1
        if count > SEARCH_STEPS_MAX:
            return None
        for index in _next(steps, happened):
            step = steps[index]
            after = happened | 1 << index
            if after in met or step.shown_ucpc not in (None, balance_ucpc):
                continue
            met.add(after)
            waiting.append((after, balance_ucpc + step.change_ucpc))
    return False


def _next(steps: Sequence[_Step], happened: int) -> list[int]:
    """Operations that may be the next to happen: called before any other that is left had to return."""
    left = [index for index in range(len(steps)) if not happened >> index & 1]
    ends = [end for index in left if (end := steps[index].returned_ns) is not None]
    limit_ns = min(ends, default=1 << 63)
    return [index for index in left if steps[index].called_ns <= limit_ns]


def stale_count(history: History) -> int:
    """Reads that were behind what the same client had been shown before, at whatever node."""
    count = 0
    by_client: dict[int, list[Read]] = {}
    for read in history.reads:
        by_client.setdefault(read.client, []).append(read)
    for reads in by_client.values():
        count += sum(later.height < before.height for before, later in pairwise(reads))
    return count
