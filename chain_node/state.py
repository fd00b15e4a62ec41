"""The state as the ledger sees it: typed entries over a Merkle map, changed in memory, committed at once.

Runs on CPython.  A State reads entries when they are first asked for and keeps what is written until
`commit` turns all of it into one batch for the map.  `fork` gives a State to try things on and throw
away.  An Overlay keeps the nodes of a block that is not final yet apart from those in the store.
"""

from collections.abc import Callable

from chain_node.entry import Account, AnchorEntry, StreamEntry, account_key, anchor_key, stream_key
from puf.merkle_map import MerkleMap


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
    """Accounts, anchors and streams after some block, and what a block in the making changes of them.

    Reading raises NodeMissing when the node store is damaged.
    """

    def __init__(self, entries: MerkleMap, parent: "State | None" = None) -> None:
        self.entries = entries
        self._parent = parent
        self._accounts: dict[bytes, Account] = {}
        self._anchors: dict[tuple[bytes, bytes, int], AnchorEntry | None] = {}
        self._streams: dict[tuple[bytes, bytes], StreamEntry | None] = {}
        self._changes: dict[bytes, Account | AnchorEntry | StreamEntry] = {}

    def fork(self) -> "State":
        """A State that begins as this one is; what is written to it stays in it."""
        return State(self.entries, self)

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
        self._accounts[public] = account
        self._changes[account_key(public)] = account

    def anchor(self, owner: bytes, stream: bytes, upload: int) -> AnchorEntry | None:
        """The anchor of this upload of the owner's stream, if there is one."""
        place = (owner, stream, upload)
        if place not in self._anchors:
            if self._parent:
                self._anchors[place] = self._parent.anchor(owner, stream, upload)
            else:
                data = self.entries.get(anchor_key(owner, stream, upload))
                self._anchors[place] = None if data is None else AnchorEntry.decode(data)
        return self._anchors[place]

    def set_anchor(self, owner: bytes, stream: bytes, upload: int, entry: AnchorEntry) -> None:
        """Anchor an upload that is not anchored yet; the ledger has checked that."""
        old = self.anchor(owner, stream, upload)
        assert old is None, "an anchor never changes"  # noqa: S101 - only a bug gets here
        self._anchors[owner, stream, upload] = entry
        self._changes[anchor_key(owner, stream, upload)] = entry

    def stream(self, owner: bytes, stream: bytes) -> StreamEntry | None:
        """How far the owner's stream has come; None when nothing of it is anchored."""
        place = (owner, stream)
        if place not in self._streams:
            if self._parent:
                self._streams[place] = self._parent.stream(owner, stream)
            else:
                data = self.entries.get(stream_key(owner, stream))
                self._streams[place] = None if data is None else StreamEntry.decode(data)
        return self._streams[place]

    def set_stream(self, owner: bytes, stream: bytes, entry: StreamEntry) -> None:
        """From now on the owner's stream is as `entry` says."""
        self._streams[owner, stream] = entry
        self._changes[stream_key(owner, stream)] = entry

    def commit(self) -> bytes:
        """Write all changes to the map in one batch; the new state root."""
        changes: dict[bytes, bytes | None] = {key: entry.encode() for key, entry in self._changes.items()}
        self._changes = {}
        return self.entries.update(changes)
