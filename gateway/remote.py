"""Commands from afar: taken from the broker, written down, carried out at most once, answered.

Runs on CPython; one task, on a connection of its own with a session that the broker keeps, so that what is
said while the gateway is away is heard when it is back.

    broker -> signature, operator, number, time -> audit record durable -> number kept -> carried out
           -> audit record of the outcome -> reply -> acknowledged to the broker

A command is never carried out twice: its number is on the disk before it begins.  One that was begun when
the power went is not tried again; the operator sees it begun, and not ended, in the audit stream.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from gateway.config import ConfigError, GatewayConfig, UnknownStream, load, parse
from gateway.disk import Disk, DiskError
from gateway.errors import GatewayError
from gateway.outbox import Outbox
from gateway.reload import ReloadRefused
from gateway.remote_command import (
    DONE,
    FAILED,
    GET_CONFIG,
    PING,
    REFUSED,
    RELOAD_CONFIG,
    RESTART_STREAM,
    SET_CONFIG,
    STATUS,
    Command,
    CommandRefused,
    NotACommand,
    Reply,
    check_command,
    open_command,
    sign_reply,
)
from gateway.sensors.audit_source import AuditSource
from gateway.sensors.mqtt_broker import Broker, LinkError
from gateway.sensors.mqtt_link import Handlers, Link
from gateway.sensors.mqtt_message import Message
from gateway.sensors.source import Clock, SourceError
from gateway.troubles import Troubles
from gateway.uplink import BACK_OFF_MS, Threads
from gateway.uplink_format import topic
from puf.did import did_key
from puf.ed25519 import SigningKey
from puf.hkdf import sha256

log = logging.getLogger("cpc.gateway")

SESSION_MS = 7 * 86_400_000
"""How long the broker keeps commands for a gateway that is away."""
QUEUE_MAX = 16
"""Commands that wait; the broker keeps the others."""
AUDIT_TIMEOUT_MS = 10_000
"""How long a record of a command may take to become durable; without one, nothing is carried out."""
JUNK_RECORD_MS = 60_000
"""How often it is recorded that strangers talk to us: they must not fill the audit stream."""
CONFIG_SIZE_MAX = 128 << 10


class Gateway(Protocol):
    """What commands need of the gateway; see gateway.app."""

    config: GatewayConfig

    def status(self) -> dict[str, Any]:
        """What is taken in, sealed, anchored and sent: in the spool's thread."""

    async def reload(self, config: GatewayConfig) -> str:
        """Goes on with `config`: what has changed, in words.

        Raises GatewayError, SourceError: then everything is as before.
        """

    async def restart_stream(self, name: str) -> None:
        """Closes the stream's source and opens it again.  Raises UnknownStream, SourceError."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command."""

    word: str
    text: str
    value: Mapping[str, Any]


class Remote:
    """Hears commands."""

    def __init__(
        self,
        gateway: Gateway,
        threads: Threads,
        outbox: Outbox,
        audit: AuditSource,
        broker: Broker,
        client_id: str,
        key: SigningKey,
        clock: Clock,
        disk: Disk | None = None,
    ) -> None:
        """outbox: keeps the operators' numbers.  client_id: another than the uplink's."""
        self._gateway = gateway
        self._threads = threads
        self._outbox = outbox
        self._audit = audit
        self._broker = broker
        self._client_id = client_id
        self._key = key
        self._did = did_key(key.public)
        self._clock = clock
        self._disk = disk or Disk()
        self._troubles = Troubles(clock)
        self._queue: asyncio.Queue[tuple[Link, Message]] = asyncio.Queue()
        self.busy = asyncio.Lock()
        """Held from taking a command until it is answered; who ends `run` meanwhile cuts off its answer."""
        self._junk_count = 0
        self._junk_recorded_ns: int | None = None

    async def run(self) -> None:
        """Hears and carries out, for ever."""
        worker = asyncio.ensure_future(self._work_for_ever())
        try:
            attempt = 0
            while True:
                try:
                    await self._listen(worker)
                    attempt = 0
                except LinkError as error:
                    self._troubles.happened("remote", error)
                if worker.done():
                    worker.result()
                await self._clock.sleep(BACK_OFF_MS[min(attempt, len(BACK_OFF_MS) - 1)] / 1000)
                attempt += 1
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    async def _listen(self, worker: asyncio.Future[None]) -> None:
        """One connection."""
        name = self._gateway.config.gateway.name
        link = Link(
            self._broker,
            self._client_id,
            expiry_ms=SESSION_MS,
            receive_max=QUEUE_MAX,
        )
        link.handlers = Handlers(on_message=lambda message: self._queue.put_nowait((link, message)))
        await link.open()
        try:
            await link.subscribe(topic(self._gateway.config.remote.command_topic, gateway=name), 1)
            self._troubles.over("remote")
            closed = asyncio.ensure_future(link.wait_closed())
            await asyncio.wait((closed, worker), return_when=asyncio.FIRST_COMPLETED)
            closed.cancel()
            if not worker.done():
                error = (await asyncio.gather(closed, return_exceptions=True))[0]
                raise error if isinstance(error, LinkError) else LinkError("the connection is over")
        finally:
            link.close()

    async def _work_for_ever(self) -> None:
        while True:
            link, message = await self._queue.get()
            async with self.busy:
                await self._work(link, message)

    async def _work(self, link: Link, message: Message) -> None:
        reply = await self.handle(message.payload)
        try:
            if reply is not None:
                self._answer(link, reply)
        except LinkError as error:
            # Not acknowledged, the command comes again, and is told that it was heard before.
            self._troubles.happened("remote", error)
            return
        if message.mid:
            link.acknowledge(message.mid)

    def _answer(self, link: Link, reply: Reply) -> None:
        config = self._gateway.config
        where = topic(config.remote.reply_topic, gateway=config.gateway.name)
        link.publish(where, sign_reply(self._key, reply))

    # --------------------------------------------------------------- commands

    async def handle(self, data: bytes) -> Reply | None:
        """What is to be answered to these bytes; None: nothing, because nobody we know has said them."""
        try:
            command = open_command(data, self._did, self._gateway.config.remote.operators)
        except NotACommand as error:
            await self._count_junk(error)
            return None
        try:
            last_seq = await self._threads.in_spool_thread(partial(self._outbox.number, command.operator))
            check_command(command, last_seq, self._clock.now_ns() // 1_000_000)
            await self._record(command, "begun", "")
            await self._threads.in_spool_thread(
                partial(self._outbox.set_number, command.operator, command.seq)
            )
        except CommandRefused as error:
            return await self._end(command, Outcome(REFUSED, str(error), {}))
        except (DiskError, TimeoutError) as error:
            return self._reply(
                command, Outcome(REFUSED, f"it cannot be recorded, so it is not carried out: {error}", {})
            )
        log.info("remote: %s %d of %s", command.word, command.seq, command.operator)
        return await self._end(command, await self._carry_out(command))

    async def _carry_out(self, command: Command) -> Outcome:
        try:
            if command.word == PING:
                return Outcome(DONE, "here", {"now_ns": self._clock.now_ns(), "host": platform.node()})
            if command.word == STATUS:
                return Outcome(DONE, "", await self._threads.in_spool_thread(self._gateway.status))
            if command.word == GET_CONFIG:
                text = self._config_text()
                return Outcome(DONE, "", {"config": text.decode(), "sha256": sha256(text).hex()})
            if command.word == RELOAD_CONFIG:
                return Outcome(DONE, await self._gateway.reload(load(self._gateway.config.file)), {})
            if command.word == RESTART_STREAM:
                await self._gateway.restart_stream(command.arguments["stream"])
                return Outcome(DONE, "", {})
            if command.word == SET_CONFIG:
                return await self._set_config(command)
        except (CommandRefused, ConfigError, ReloadRefused, UnknownStream) as error:
            return Outcome(REFUSED, str(error), {})
        except (GatewayError, SourceError, DiskError) as error:
            return Outcome(FAILED, str(error), {})
        return Outcome(REFUSED, f"{command.word} is not carried out here", {})

    async def _set_config(self, command: Command) -> Outcome:
        """The new file is in place before it is used, and the old one again when it cannot be."""
        if not self._gateway.config.remote.may_configure:
            raise CommandRefused("remote.may_configure is false")
        text = command.arguments["config"].encode()
        if len(text) > CONFIG_SIZE_MAX:
            raise CommandRefused(f"a configuration of {len(text)} bytes; at most {CONFIG_SIZE_MAX} are taken")
        path = self._gateway.config.file
        old = self._config_text()
        if command.arguments.get("replaces", sha256(old).hex()) != sha256(old).hex():
            raise CommandRefused(
                f"the configuration is another one by now, of SHA-256 {sha256(old).hex()}: get-config tells"
            )
        config = parse(text.decode(), path)
        if command.operator not in config.remote.operators:
            raise CommandRefused("you would lock yourself out: you are not among its remote.operators")
        self._disk.write_file_atomic(_kept(path), old, mode=0o644)
        self._disk.write_file_atomic(path, text, mode=0o644)
        try:
            what = await self._gateway.reload(config)
        except BaseException:
            self._disk.write_file_atomic(path, old, mode=0o644)
            raise
        return Outcome(DONE, what, {"sha256": sha256(text).hex()})

    def _config_text(self) -> bytes:
        return self._disk.read_file(self._gateway.config.file, CONFIG_SIZE_MAX)

    # ------------------------------------------------------------------ audit

    async def _end(self, command: Command, outcome: Outcome) -> Reply:
        try:
            await self._record(command, outcome.word, outcome.text)
        except TimeoutError:
            log.error("remote: the end of %s %d could not be recorded", command.word, command.seq)
        return self._reply(command, outcome)

    def _reply(self, command: Command, outcome: Outcome) -> Reply:
        return Reply(command.operator, command.seq, outcome.word, outcome.text, outcome.value, self._did)

    async def _record(self, command: Command, outcome: str, text: str) -> None:
        value: dict[str, Any] = {
            "event": "command",
            "operator": command.operator,
            "seq": command.seq,
            "command": command.word[:100],
            "outcome": outcome,
        }
        if text:
            value["text"] = text[:2_000]
        if command.arguments:
            # Not what they say: a configuration is long, and may be nobody else's business.
            value["arguments"] = {
                str(name)[:100]: sha256(str(content).encode()).hex()
                for name, content in list(command.arguments.items())[:8]
            }
        await self._record_value(value)

    async def _record_value(self, value: dict[str, Any]) -> None:
        async with asyncio.timeout(AUDIT_TIMEOUT_MS / 1000):
            await self._audit.record(value)

    async def _count_junk(self, error: NotACommand) -> None:
        self._junk_count += 1
        now_ns = self._clock.monotonic_ns()
        last_ns = self._junk_recorded_ns
        if last_ns is not None and now_ns - last_ns < JUNK_RECORD_MS * 1_000_000:
            return
        self._junk_recorded_ns = now_ns
        count, self._junk_count = self._junk_count, 0
        log.warning("remote: %s (%d such messages)", error, count)
        try:
            await self._record_value({"event": "not a command", "count": count, "text": str(error)[:500]})
        except TimeoutError:
            self._junk_count += count


def _kept(path: Path) -> Path:
    """Where the configuration before is kept."""
    return path.with_name(path.name + ".old")
