"""JSON-RPC about a node among its peers: what `cpc node status` and `cpc node peers` show.

Runs on CPython; knows no sockets.

    node_status    who this node is, where it listens, what troubles it
    node_peers     {peers: [{public, role, address, height, latency_ms, score, ...}]}, members first
"""

from collections.abc import Callable, Mapping

from chain_node.node import Node
from chain_node.peer_network import PeerNetwork
from chain_node.rpc_call import Params


def methods(node: Node, network: PeerNetwork) -> Mapping[str, Callable[[Params], dict[str, object]]]:
    """The methods by name, for a `Dispatcher`."""

    def node_status(params: Params) -> dict[str, object]:
        params.done()
        peers = network.peers()
        height = node.head.height
        return {
            "public": network.public.hex(),
            "role": network.role,
            "address": str(network.address or ""),
            "name": node.genesis.name,
            "chain_id": node.genesis.chain_id.hex(),
            "height": height,
            "time_ms": node.head.time_ms,
            "behind": max([peer.height - height for peer in peers] + [0]),
            "pool_count": len(node.pool),
            "peer_count": len(peers),
            "member_count": sum(peer.role != "plain" for peer in peers),
            "rules_version": network.rules.rules_version,
            "shut": network.door.shutter.words,
            "shut_count": network.door.shutter.shut_count,
            "turned_away_count": network.door.admission.refused_count,
            "trouble": "; ".join(dict.fromkeys(filter(None, (node.trouble, network.trouble)))),
        }

    def node_peers(params: Params) -> dict[str, object]:
        params.done()
        return {
            "peers": [
                {
                    "public": peer.public.hex(),
                    "role": peer.role,
                    "address": peer.address,
                    "is_dialled": peer.is_dialled,
                    "height": peer.height,
                    "latency_ms": peer.latency_ms,
                    "score": peer.score,
                    "lost_count": peer.lost_count,
                    "program": peer.program,
                }
                for peer in network.peers()
            ]
        }

    return {"node_status": node_status, "node_peers": node_peers}
