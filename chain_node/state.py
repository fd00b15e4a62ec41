"""The state as the ledger sees it: typed entries over a Merkle map, changed in memory, committed at once.

Runs on CPython.  A State reads entries when they are first asked for and keeps what is written until
`commit` turns all of it into one batch for the map.  `fork` gives a State to try things on and throw
away.  An Overlay keeps the nodes of a block that is not final yet apart from those in the store.  For the
families of transactions it is the Book (book.py).
"""

from collections.abc import Callable, Mapping

from chain_node.book import AnEntry, Entry
from chain_node.entry import (
    Account,
    AnchorEntry,
    Conduct,
    EquivocationEntry,
    StreamEntry,
    account_key,
    anchor_key,
    conduct_key,
    equivocation_key,
    stream_key,
)
from chain_node.errors import Refused
from chain_node.reason import Reason
from puf.merkle_map import MerkleMap

ACCOUNTS_KEPT = 1 << 15
"""Accounts that are kept in memory from block to block, some 8 MiB."""


class Overlay(dict[bytes, bytes]):
    """Nodes that are new, over a store that is only read.

    read: the node bytes of a hash; raises KeyError when the store has none.
    """

    def __init__(self, read: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, node_hash: bytes) -> bytes:
        return self._read(node_hash)


class State:
    """The entries after some block, and what a block in the making changes of them.

    Reading raises NodeMissing when the node store is damaged.
    """

    def __init__(self, entries: MerkleMap, parent: "State | None" = None) -> None:
        self.entries = entries
        self._parent = parent
        self._accounts: dict[bytes, Account] = {}
        """By public key: every transaction asks for accounts, and making an entry's key is slow."""
        self._changed: set[bytes] = set()
        """The public keys of accounts that `commit` must write."""
        self._known: dict[bytes, Entry | None] = {}
        self._changes: dict[bytes, Entry] = {}
        self.drift_ucpc = 0
        """By how much all accounts hold more than they did, locked or not; 0 after every transaction."""

    def fork(self, entries: MerkleMap | None = None) -> "State":
        """A State that begins as this one is; what is written to it stays in it.

        entries: where `commit` writes to, at the same root; by default where this one does.
        """
        return State(entries or self.entries, self)

    def after(self, entries: MerkleMap, accounts: Mapping[bytes, Account]) -> "State":
        """The State after a block on this one, of which nothing was changed since it was read.

        entries: at the block's root; accounts: those that the block has changed.  Accounts that are known
        here need not be read again.
        """
        state = State(entries)
        if len(self._accounts) <= ACCOUNTS_KEPT:
            state._accounts = self._accounts
        state._accounts.update(accounts)
        return state

    @property
    def changed_accounts(self) -> dict[bytes, Account]:
        """What `commit` is going to write of accounts."""
        return {public: self._accounts[public] for public in self._changed}

    def account(self, public: bytes) -> Account:
        """The account of this key; an account that never was paid is empty."""
        if public not in self._accounts:
            if self._parent:
                self._accounts[public] = self._parent.account(public)
            else:
                data = self.entries.get(account_key(public))
                self._accounts[public] = Account() if data is None else Account.decode(data)
        return self._accounts[public]

    def set_account(self, public: bytes, account: Account) -> None:
        """From now on the account of this key is `account`."""
        old = self.account(public)
        self.drift_ucpc += account.balance_ucpc + account.locked_ucpc - old.balance_ucpc - old.locked_ucpc
        self._accounts[public] = account
        self._changed.add(public)

    def debit(self, public: bytes, amount_ucpc: int) -> None:
        """Take money from an account.  Raises Refused with BALANCE_TOO_LOW; nothing has changed then."""
        account = self.account(public)
        if amount_ucpc > account.balance_ucpc:
            raise Refused(
                Reason.BALANCE_TOO_LOW,
                f"{amount_ucpc} ucpc are more than the {account.balance_ucpc} that {public.hex()} has left",
            )
        self.set_account(public, account.holding(account.balance_ucpc - amount_ucpc, account.locked_ucpc))

    def credit(self, public: bytes, amount_ucpc: int) -> None:
        """Give an account money that was taken from another, or unlocked; of nothing there is no trace."""
        if amount_ucpc:
            account = self.account(public)
            self.set_account(public, account.holding(account.balance_ucpc + amount_ucpc, account.locked_ucpc))

    def lock(self, public: bytes, amount_ucpc: int) -> None:
        """Put some of an account's balance aside.  Raises Refused with BALANCE_TOO_LOW."""
        self.debit(public, amount_ucpc)
        account = self.account(public)
        self.set_account(public, account.holding(account.balance_ucpc, account.locked_ucpc + amount_ucpc))

    def unlock(self, public: bytes, amount_ucpc: int) -> None:
        """Take money out of what an account has put aside; `credit` somebody with it."""
        account = self.account(public)
        assert amount_ucpc <= account.locked_ucpc, "an escrow holds what was put aside"  # noqa: S101 - only a bug
        self.set_account(public, account.holding(account.balance_ucpc, account.locked_ucpc - amount_ucpc))

    def read(self, key: bytes, kind: type[AnEntry]) -> AnEntry | None:
        """What stands under this key, if anything; every key has one kind."""
        if key not in self._known:
            if self._parent:
                self._known[key] = self._parent.read(key, kind)
            else:
                data = self.entries.get(key)
                self._known[key] = None if data is None else kind.decode(data)
        entry = self._known[key]
        assert entry is None or isinstance(entry, kind), "a key has one kind"  # noqa: S101 - only a bug
        return entry

    def write(self, key: bytes, entry: Entry) -> None:
        """From now on `entry` stands there."""
        self._known[key] = entry
        self._changes[key] = entry

    def anchor(self, owner: bytes, stream: bytes, upload: int) -> AnchorEntry | None:
        """The anchor of this upload of the owner's stream, if there is one."""
        return self.read(anchor_key(owner, stream, upload), AnchorEntry)

    def set_anchor(self, owner: bytes, stream: bytes, upload: int, entry: AnchorEntry) -> None:
        """Anchor an upload that is not anchored yet; the ledger has checked that."""
        old = self.anchor(owner, stream, upload)
        assert old is None, "an anchor never changes"  # noqa: S101 - only a bug gets here
        self.write(anchor_key(owner, stream, upload), entry)

    def stream(self, owner: bytes, stream: bytes) -> StreamEntry | None:
        """How far the owner's stream has come; None when nothing of it is anchored."""
        return self.read(stream_key(owner, stream), StreamEntry)

    def set_stream(self, owner: bytes, stream: bytes, entry: StreamEntry) -> None:
        """From now on the owner's stream is as `entry` says."""
        self.write(stream_key(owner, stream), entry)

    def conduct(self, public: bytes) -> Conduct:
        """What this proposer or validator did against the rules."""
        return self.read(conduct_key(public), Conduct) or Conduct()

    def set_conduct(self, public: bytes, conduct: Conduct) -> None:
        """From now on the conduct of this key is `conduct`."""
        self.write(conduct_key(public), conduct)

    def equivocation(self, voter: bytes, height: int) -> EquivocationEntry | None:
        """Where it was shown that this one contradicted itself at this height; None when it never was."""
        return self.read(equivocation_key(voter, height), EquivocationEntry)

    def set_equivocation(self, voter: bytes, height: int, entry: EquivocationEntry) -> None:
        """Remember that it was shown; the ledger has checked that it is new."""
        self.write(equivocation_key(voter, height), entry)

    def commit(self) -> bytes:
        """Write all changes to the map in one batch; the new state root."""
        changes: dict[bytes, bytes | None] = {key: entry.encode() for key, entry in self._changes.items()}
        for public in self._changed:
            changes[account_key(public)] = self._accounts[public].encode()
        self._changes, self._changed = {}, set()
        return self.entries.update(changes)
