"""The chain's two inner loops: a light client that follows headers, and a ledger that executes a block.

Runs on CPython.  Four validators, three signatures a certificate, all keys and times fixed.  Peers: the
signatures alone, verified by PyNaCl, with what bookkeeping cannot be left out.
"""

from functools import cache

import cbor2
from nacl.signing import VerifyKey

from chain_node.block import VOTE_TYP
from chain_node.evidence import Link
from chain_node.ledger import Execution, Head, Place, block_of, execute, genesis_execution
from chain_node.light_client import LightClient
from chain_node.schedule import TakeTurns
from chain_node.transaction import SUPPLY_UCPC, TX_TYP, Transaction, Transfer
from chain_node.wire import Genesis, Phase, Vote, certify, vote_payload
from puf import cose
from puf.ed25519 import SigningKey
from tests.bench.measure import FULL, Lap, Row, Stopwatch, compare, digest_of

HEADER_COUNT = {"tiny": 50, FULL: 1_000}
TX_COUNT = {"tiny": 50, FULL: 2_000}
ROUNDS = {"tiny": 1, FULL: 7}
VALIDATORS = [SigningKey(bytes([number]) * 32) for number in range(1, 5)]
SIGNER_COUNT = 4
PAYERS = [SigningKey(bytes([100 + number]) * 32) for number in range(20)]
TIME_MS = 1_700_000_000_000


def bench_light_client(size: str) -> list[Row]:
    """Following a chain from its genesis; an item is a header with its certificate, as bytes."""
    links = _links(HEADER_COUNT[size])

    def ours() -> Lap:
        with Stopwatch() as watch:
            client = LightClient(_genesis())
            client.follow(Link.decode(header, certificate) for header, certificate in links)
        assert client.head.height == len(links)
        return Lap(watch.cpu_us, len(links), digest_of(client.export()))

    def bare() -> Lap:
        keys = [VerifyKey(key.public) for key in VALIDATORS]
        with Stopwatch() as watch:
            heads = 0
            for header, certificate in links:
                block_hash = cbor2.loads(certificate)[3]
                heads += len(cbor2.loads(header))
                for index, signature in cbor2.loads(certificate)[4]:
                    message = messages[block_hash, index]
                    keys[index].verify(message, signature)
        return Lap(watch.cpu_us, len(links), digest_of(heads))

    messages = _vote_messages(links)
    return compare(
        "light-client",
        "header with 4 signatures",
        ours,
        {"its signatures alone": bare},
        ROUNDS[size],
        note=lambda ours_us: f"{1e6 / ours_us:,.0f} a second",
    )


def bench_ledger(size: str) -> list[Row]:
    """A block of transfers, from bytes to its header; an item is a transaction."""
    count = TX_COUNT[size]
    genesis = _genesis()
    data = [
        Transaction.sign(
            PAYERS[number % len(PAYERS)],
            genesis.chain_id,
            number // len(PAYERS),
            Transfer(PAYERS[(number + 1) % len(PAYERS)].public, 1 + number),
            genesis.fee_min_ucpc,
        ).data
        for number in range(count)
    ]
    head, begin = genesis_execution(genesis)

    def ours() -> Lap:
        with Stopwatch() as watch:
            place = Place(genesis, 1, TIME_MS + 1, VALIDATORS[0].public, TakeTurns(genesis.proposers))
            transactions = [Transaction.decode(item) for item in data]
            execution = execute(begin.nodes_added.__getitem__, head, place, transactions)
            block = block_of(head, place, 0, execution)
        assert block.header.tx_count == count
        return Lap(watch.cpu_us, count, digest_of(block.header.data))

    def bare() -> Lap:
        with Stopwatch() as watch:
            balances = dict(genesis.balances)
            for item in data:
                protected, _, payload, signature = cbor2.loads(item).value
                sender: bytes = cbor2.loads(protected)[4]
                VerifyKey(sender).verify(cose.sig_structure(TX_TYP, sender, payload), signature)
                fields = cbor2.loads(payload)
                balances[sender] -= fields[6][2] + fields[3]
                balances[fields[6][1]] += fields[6][2]
        return Lap(watch.cpu_us, count, digest_of(sorted(balances.items())))

    return compare(
        "ledger",
        "transfer in a block",
        ours,
        {"its signature and a dict": bare},
        ROUNDS[size],
        note=lambda ours_us: f"{1e6 / ours_us:,.0f} a second",
    )


@cache
def _genesis() -> Genesis:
    share_ucpc, rest_ucpc = divmod(SUPPLY_UCPC, len(PAYERS))
    assert rest_ucpc == 0
    return Genesis(
        name="bench",
        time_ms=TIME_MS,
        validators=tuple(key.public for key in VALIDATORS),
        balances=tuple(sorted((key.public, share_ucpc) for key in PAYERS)),
        fee_min_ucpc=1_000,
        free_tx_per_day=10,
        block_period_ms=1_000,
        block_tx_max=10_000,
        tx_size_max=4_096,
        proposers=(VALIDATORS[0].public,),
        timeout_ms=5_000,
        heartbeat_ms=10_000,
    )


def _links(count: int) -> list[tuple[bytes, bytes]]:
    """(header, certificate) of `count` blocks without transactions."""
    genesis = _genesis()
    head, execution = genesis_execution(genesis)
    empty = Execution((), (), (), execution.state_root, {}, frozenset(), execution.validators)
    links = []
    for height in range(1, count + 1):
        place = Place(genesis, height, TIME_MS + height, VALIDATORS[0].public, TakeTurns(genesis.proposers))
        header = block_of(head, place, 0, empty).header
        votes = [
            Vote.sign(key, genesis.chain_id, height, 0, Phase.COMMIT, header.block_hash)
            for key in VALIDATORS[:SIGNER_COUNT]
        ]
        links.append((header.data, certify(votes, genesis.validators).encode()))
        head = Head(height, header.block_hash, header.time_ms, header.state_root)
    return links


def _vote_messages(links: list[tuple[bytes, bytes]]) -> dict[tuple[bytes, int], bytes]:
    """What each validator has signed, by block hash and index."""
    genesis = _genesis()
    messages = {}
    for _, certificate in links:
        fields = cbor2.loads(certificate)
        payload = vote_payload(genesis.chain_id, fields[1], fields[2], Phase.COMMIT, fields[3])
        for index, _ in fields[4]:
            message = cose.sig_structure(VOTE_TYP, VALIDATORS[index].public, payload)
            messages[fields[3], index] = message
    return messages
