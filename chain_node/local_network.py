"""A network within one process: for a development chain with several validators.

Runs on CPython.  Messages are handed over as they are, so that nothing is encoded; a node takes them up
when its turn comes.  What is sent to a node that is not there is lost, as it is on any network.
"""

from chain_node.lbft_states import Fate
from chain_node.ledger import Head
from chain_node.messages import Message
from chain_node.node import Node


class LocalNetwork:
    """Nodes of one process, by their keys."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}

    def join(self, node: Node) -> None:
        """From now on this node is reached under its key."""
        self._nodes[node.public] = node

    def leave(self, node: Node) -> None:
        """From now on nobody is."""
        if self._nodes.get(node.public) is node:
            del self._nodes[node.public]

    def send(self, sender: bytes, receiver: bytes | None, message: Message) -> None:
        """Hand a message over; see `node.Network`."""
        for public, node in self._nodes.items():
            if public != sender and receiver in (None, public):
                node.deliver(sender, message)

    def judged(self, sender: bytes, message: Message, fate: Fate) -> None:
        """All nodes of one process are honest."""

    def advanced(self, head: Head) -> None:
        """Everybody is connected with everybody, and hears it from the validators."""
