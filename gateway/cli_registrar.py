"""What the commands for devices share: the site they belong to, and its chain, believed only on proof.

Runs on CPython, on Linux.  Part of the command line.  Beside the site's configuration lie

    devices.sqlite    the registry (gateway/devices.py)
    devices.chain     how far the chain was followed        devices.pending   a transaction on its way
    devices.lock      held while a command changes something
"""

import asyncio
import fcntl
import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from chain_node.errors import NodeRefused, Refused
from chain_node.wire import (
    Anchor,
    DidDeactivate,
    DidEntry,
    DidRegister,
    Reason,
    TransactionEvidence,
    anchor_key,
    stream_key,
)
from gateway import cli_chain
from gateway.anchor import DEV_FUND_UCPC
from gateway.cli_chain import Chain
from gateway.cli_gateway import add_config_option
from gateway.cli_output import Output, whole_number
from gateway.config import GatewayConfig, load
from gateway.crypto.key_file import GatewayKey, load_gateway_key
from gateway.devices import FILE_NAME, Devices
from gateway.enrolment import RegistryConflict, Site
from gateway.errors import AnchorError, GatewayBusy
from puf.did import did_key
from puf.ed25519 import SigningKey

ATTEMPTS_MAX = 4
"""Transactions signed for one purpose, when the running gateway takes their nonce each time."""
LOCK_WAIT_MS = 90_000
"""How long a command waits for another one: a running gateway that cannot reach the chain holds the lock for
half a minute at each attempt to publish, and a key that was stolen must be revoked here nevertheless."""
LOCK_POLL_MS = 100


class ChainNames:
    """The chain as a verifier sees it: it only asks, and sends nothing.  See gateway.credentials.Names."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def entry(self, name: bytes) -> tuple[DidEntry | None, int]:
        """The name as it is now, proven, and the block after which that is so."""
        answer = await self._chain.node.get_did(name)
        height = answer.evidence.link.header.height
        if self._chain.client.head.height < height:
            await self._chain.follow(height)
        return self._chain.client.confirm_did(name, answer.evidence), height

    async def newest(self, owner: bytes, stream: bytes) -> int:
        """The number of the last upload of this stream that is anchored, proven; 0: none."""
        answer = await self._chain.node.get_state(stream_key(owner, stream))
        if self._chain.client.head.height < answer.link.header.height:
            await self._chain.follow(answer.link.header.height)
        found = self._chain.client.confirm_stream(owner, stream, answer)
        return found.last_upload if found else 0


class ChainRegistrar(ChainNames):
    """The chain as enrolment sees it.  See gateway.enrolment.Registrar."""

    def __init__(self, chain: Chain, key: SigningKey, pending: Path, wait_ms: int) -> None:
        super().__init__(chain)
        self._key = key
        self._pending = pending
        self._wait_ms = wait_ms

    async def entry(self, name: bytes) -> tuple[DidEntry | None, int]:
        """The name as it is now, proven, and the block after which that is so.

        What was sent before is settled first: it may be about to make this name.  Raises NotFinal.
        """
        await self._finish()
        return await super().entry(name)

    async def apply(self, body: DidRegister | DidDeactivate | Anchor) -> TransactionEvidence:
        """A transaction that is final and had its effect.  Raises NotFinal, Refused, RegistryConflict."""
        finished = await self._finish()
        if finished and finished.transaction.body == body and finished.is_applied:
            return self._chain.client.completed(finished.evidence)
        await self._fund()
        for attempt in range(ATTEMPTS_MAX):
            try:
                sent = await self._chain.send(self._key, body, None, self._pending, self._wait_ms)
                break
            except Refused as error:
                if isinstance(body, Anchor) and error.reason is Reason.ANCHOR_KNOWN:
                    return await self._anchored(body)
                if error.reason is not Reason.NONCE_USED or attempt == ATTEMPTS_MAX - 1:
                    raise
        is_known = isinstance(body, Anchor) and sent.receipt.reason is Reason.ANCHOR_KNOWN
        if not sent.is_applied and not is_known:
            raise RegistryConflict(
                f"the chain took {type(body).__name__} without effect: {sent.receipt.reason.label}; "
                "see what it has: cpc did show, cpc device show"
            )
        return self._chain.client.completed(sent.evidence)

    async def _finish(self) -> cli_chain.Sent | None:
        """What became of a transaction that an earlier command left on its way; None: there is none."""
        waiting = cli_chain.read_pending(self._pending)
        try:
            return await self._chain.settle(waiting, self._pending, self._wait_ms) if waiting else None
        except Refused:
            # It is proven, or said by the node, that it never will be; who still wants it sends it anew.
            return None

    async def _anchored(self, anchor: Anchor) -> TransactionEvidence:
        """The evidence of an anchor that is there already, as the node says."""
        key = anchor_key(self._key.public, anchor.stream, anchor.upload)
        answer = await self._chain.node.get_state(key)
        if self._chain.client.head.height < answer.link.header.height:
            await self._chain.follow(answer.link.header.height)
        entry = self._chain.client.confirm_anchor(self._key.public, anchor.stream, anchor.upload, answer)
        sent = await self._chain.confirmed(entry.tx_hash) if entry and entry.is_of(anchor) else None
        if sent is None:
            raise RegistryConflict(
                "the node says that this status list is on the chain, and does not prove it"
            )
        return self._chain.client.completed(sent.evidence)

    async def _fund(self) -> None:
        """On a development chain: play money when there is none.  Elsewhere somebody must pay."""
        fee_ucpc = self._chain.client.genesis.fee_min_ucpc
        if (await self._chain.account(self._key.public)).balance_ucpc >= fee_ucpc:
            return
        did = did_key(self._key.public)
        try:
            await self._chain.node.fund(self._key.public, DEV_FUND_UCPC)
        except NodeRefused as error:
            raise AnchorError(f"send some CPC to this gateway's account, {did}, and try again") from error
        deadline_ms = time.monotonic_ns() // 1_000_000 + self._wait_ms
        while (await self._chain.account(self._key.public)).balance_ucpc < fee_ucpc:
            if time.monotonic_ns() // 1_000_000 > deadline_ms:
                raise AnchorError(f"the development chain does not pay {did}; is its node making blocks?")
            await asyncio.sleep(cli_chain.POLL_MS / 1000)
            await self._chain.follow()


def add_site(command: ArgumentParser, is_sending: bool = True) -> None:
    """Adds -c, --json, and --wait-ms to what sends transactions."""
    add_config_option(command)
    if is_sending:
        command.add_argument(
            "--wait-ms",
            type=whole_number,
            default=cli_chain.WAIT_MS,
            metavar="MS",
            help=f"for a transaction to be final [{cli_chain.WAIT_MS}]",
        )
    command.add_argument("--json", action="store_true", help="print JSON")


@contextmanager
def open_site(args: Namespace) -> Iterator[tuple[Site, GatewayConfig]]:
    """The site that -c names, nobody else changing it; who does is waited for.

    Raises ConfigError, KeyFileError, DatabaseError, GatewayBusy.
    """
    config = load(args.config)
    with held_site(config, load_gateway_key(config.key_path), LOCK_WAIT_MS) as site:
        yield site, config


@contextmanager
def held_site(config: GatewayConfig, key: GatewayKey, wait_ms: int = 0) -> Iterator[Site]:
    """The site of this configuration, nobody else changing it.  Raises DatabaseError, GatewayBusy.

    wait_ms: how long who does so now is waited for.
    """
    folder = config.file.parent
    lock = os.open(folder / "devices.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock, wait_ms)
        with Devices(folder / FILE_NAME, key) as devices:
            yield _site(key, devices)
    finally:
        os.close(lock)


def _lock(descriptor: int, wait_ms: int) -> None:
    deadline_ms = time.monotonic_ns() // 1_000_000 + wait_ms
    is_told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic_ns() // 1_000_000 >= deadline_ms:
                raise GatewayBusy("another command changes the devices of this site; wait for it") from error
        if not is_told:
            Output.note("another command, or cpc run, changes the devices of this site; waiting for it")
            is_told = True
        time.sleep(LOCK_POLL_MS / 1000)


@contextmanager
def look_at_site(args: Namespace, is_read_only: bool = True) -> Iterator[tuple[Site | None, GatewayConfig]]:
    """The site that -c names, beside whoever changes it: nobody is waited for.

    is_read_only: nothing can be changed; the site is then None when it has no registry yet.  Else single
    transactions are possible, which need no lock.  Raises ConfigError, KeyFileError, DatabaseError.
    """
    config = load(args.config)
    key = load_gateway_key(config.key_path)
    path = config.file.parent / FILE_NAME
    if is_read_only and not path.exists():
        yield None, config
        return
    with Devices(path, key, is_read_only=is_read_only) as devices:
        yield _site(key, devices), config


def _site(key: GatewayKey, devices: Devices) -> Site:
    return Site(key.identity, devices, os.urandom, lambda: time.time_ns() // 1_000_000)


@asynccontextmanager
async def open_registrar(
    args: Namespace, output: Output, site: Site, config: GatewayConfig
) -> AsyncIterator[ChainRegistrar]:
    """The site's chain, followed to its head by a light client that trusts the site's genesis."""
    async with _followed(output, config) as chain:
        yield ChainRegistrar(chain, site.key, config.file.parent / "devices.pending", args.wait_ms)


@asynccontextmanager
async def open_names(output: Output, config: GatewayConfig) -> AsyncIterator[ChainNames]:
    """The same, for who only asks."""
    async with _followed(output, config) as chain:
        yield ChainNames(chain)


def _followed(output: Output, config: GatewayConfig) -> Chain:
    told = Namespace(node=config.chain.node_url, genesis=config.genesis_path)
    return Chain(told, output, config.file.parent / "devices.chain")
