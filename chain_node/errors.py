"""What can go wrong on the chain, theirs apart from ours.

Runs on CPython.

    ChainError
      +- PeerError                what we were given is wrong, or the one who gives it is out of reach
      |    +- WireError           bytes that are not what they must be
      |    +- Refused             a transaction that cannot stand, with its Reason
      |    +- IllicitBlock        a block whose execution is not what its header says
      |    +- TrustError          what a light client was shown does not follow from what it trusts
      |    |    +- HeaderError        a header that does not continue the chain
      |    |    +- CertificateError   a certificate that is not one of this chain's validators
      |    |    +- ForkFound          two certified blocks of one height: more than f validators are faulty
      |    |    +- EvidenceError      a proof that does not lead to the header
      |    +- NodeError           asking a node over JSON-RPC
      |         +- NodeUnavailable    no answer; may be asked again
      |         +- NodeBusy           it answered that it is full; may be asked again
      |         +- NodeRefused        it answered that it will not do that
      |         +- NodeLied           an answer that no honest node gives; ask another one
      +- LocalError               we asked for something impossible, or our own machine fails us
           +- DoubleVote          a second vote in one height, round and phase
           +- StorageError        +- StorageFull  +- StorageDamaged  +- WrongChainStored
           +- BooksWrong          a state in which money is missing, or too much
           +- DevNodeError        +- DataDirInUse  +- DataDirDamaged
           +- PortInUse           another program listens there
"""

from chain_node.reason import Reason


class ChainError(Exception):
    """The root of this tree."""


class PeerError(ChainError):
    """What we were given is wrong; refuse it.  `is_retryable`: whether asking again may help."""

    is_retryable = False


class WireError(PeerError):
    """Bytes that are not `what` they must be; `why` says where they are not."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"no {what}: {why}")
        self.what, self.why = what, why


class Refused(PeerError):
    """A transaction was refused; `reason` is for machines, the message for people."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class IllicitBlock(PeerError):
    """Block `height` is not what its parent's state and its transactions make it."""

    def __init__(self, height: int, why: str) -> None:
        super().__init__(f"block {height} is illicit: {why}")
        self.height, self.why = height, why


class TrustError(PeerError):
    """What we were shown does not follow from what we trust; the node that showed it lies or is forked."""


class HeaderError(TrustError):
    """The header of block `height` does not continue the chain."""

    def __init__(self, height: int, why: str) -> None:
        super().__init__(f"header of block {height}: {why}")
        self.height, self.why = height, why


class CertificateError(TrustError):
    """The certificate of block `height` is not that of a quorum of this chain's validators."""

    def __init__(self, height: int, why: str) -> None:
        super().__init__(f"certificate of block {height}: {why}")
        self.height, self.why = height, why


class ForkFound(TrustError):
    """Two certified blocks of one height: more validators are faulty than the chain can bear.

    Keep both certificates: the validators that signed both are named by them.
    """

    def __init__(self, height: int, trusted_hash: bytes, shown_hash: bytes) -> None:
        super().__init__(
            f"fork at block {height}: {trusted_hash.hex()} is trusted, and {shown_hash.hex()} "
            "is certified as well; trust neither chain until people have looked"
        )
        self.height, self.trusted_hash, self.shown_hash = height, trusted_hash, shown_hash


class EvidenceError(TrustError):
    """A proof of a transaction, a receipt or an entry of the state does not lead to the header."""


class NodeError(PeerError):
    """A node did not do what it was asked; `url` names it."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"node {url}: {why}")
        self.url, self.why = url, why


class NodeUnavailable(NodeError):
    """No answer: no connection, a timeout, or a server error.  Ask again later, or another node."""

    is_retryable = True


class NodeBusy(NodeError):
    """The node is full and said so; ask again after `retry_after_ms`."""

    is_retryable = True

    def __init__(self, url: str, why: str, retry_after_ms: int) -> None:
        super().__init__(url, why)
        self.retry_after_ms = retry_after_ms


class NodeRefused(NodeError):
    """The node answered with an error; `reason` is its label for machines, such as "not_found"."""

    def __init__(self, url: str, why: str, reason: str) -> None:
        super().__init__(url, f"{why} ({reason})")
        self.reason = reason


class NodeLied(NodeError):
    """An answer that no honest node gives.  Do not ask this node again; `is_retryable` is False."""


class LocalError(ChainError):
    """We asked for something impossible, or our own machine fails us."""


class DoubleVote(LocalError):
    """We were about to vote twice in one height, round and phase; the first vote stands."""

    def __init__(self, height: int, round_: int, voted: bytes, asked: bytes) -> None:
        super().__init__(
            f"already voted for {voted.hex()} at height {height}, round {round_}; "
            f"not voting for {asked.hex()}"
        )
        self.height, self.round, self.voted, self.asked = height, round_, voted, asked


class StorageError(LocalError):
    """The chain's file `path` cannot be used."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


class StorageFull(StorageError):
    """The disk is full; what was committed before stands.  Free some space; the node goes on by itself."""


class StorageDamaged(StorageError):
    """The file is damaged or not ours; restore it from a copy, or delete it and sync from peers."""


class WrongChainStored(StorageError):
    """The file holds another chain than the one asked for."""


class BooksWrong(LocalError):
    """The money of a state is not the supply: stop this node and report it, the program has a fault."""


class DevNodeError(LocalError):
    """The node, of a development chain or another, cannot run with data folder `data_dir`."""

    def __init__(self, data_dir: str, why: str) -> None:
        super().__init__(f"{data_dir}: {why}")
        self.data_dir, self.why = data_dir, why


class DataDirInUse(DevNodeError):
    """Another process runs a node on this folder."""


class DataDirDamaged(DevNodeError):
    """Files of the folder are missing or are not what they must be."""


class PortInUse(LocalError):
    """Another program listens on `port` of `host`."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} of {host} is in use; stop the other program or take another port")
        self.host, self.port = host, port
