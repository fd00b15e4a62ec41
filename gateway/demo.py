"""`cpc demo`: the whole first flow in half a minute, without hardware: a car in, a proof out.

Runs on CPython.  A composition root: it starts a development chain of four validators and a gateway in
this process, in a folder that it removes at the end, and does with them what a user does with the other
commands.  While the gateway anchors, one of the four is killed and revived.
"""

import asyncio
import logging
import shutil
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import apsw

from chain_node import quorum
from chain_node.wire import Genesis
from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.archive import Location, ReadReport
from gateway.cli_gateway import CONFIG_NAME, checked_text, make_site
from gateway.cli_output import (
    EXIT_FAILED,
    EXIT_NOT_PROVEN,
    EXIT_OK,
    Output,
    UsageError,
    clipped,
    moment_text,
    short,
    whole_number,
)
from gateway.cli_read import EVER_NS, described, signal_text
from gateway.cli_verify import show_record
from gateway.config import GatewayConfig, load
from gateway.crypto.grant import make_grant
from gateway.crypto.key_file import GatewayKey, create_reader_key
from gateway.crypto.slot import slot_end_ns, slot_of, slot_start_ns
from gateway.demo_outage import Outage
from gateway.disk import Disk
from gateway.proof import collect
from gateway.record import Record, RecordName
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.schemes import open_source
from gateway.sensors.source import MissingExtra
from gateway.site import Reader, open_as_owner, open_as_reader, stream_keys
from gateway.tail import Tail
from obd.can_frame import CanFrame
from puf.did import did_key

Item = TypeVar("Item")

SECONDS = 14
SECONDS_MAX = 30
GRANTED_NS = 5_000_000_000
SHOW_MS = 1_000
MESSAGES_SHOWN = 3
SIGNALS_SHOWN = 3
ANCHOR_TIMEOUT_MS = 15_000
FLIPPED_BIT = 3
BLOCK_PERIOD_MS = 300
"""Shorter than on a chain that lasts: somebody is watching."""
BLOCK_TIMEOUT_MS = 600
VALIDATOR_COUNT = 4

CONFIG = """\
[gateway]
log_level = "warning"

[chain]
node_url = "{node_url}"
poll_ms = 200

[[stream]]
name = "can0"
source = {source}
dbc = {dbc}
block_ms = 500
segment_blocks = 2
upload_segments = 4
"""


@dataclass(frozen=True, slots=True)
class Drive:
    """What is taken in."""

    source: str
    """The string that opens it."""
    name: str
    """What people call it."""
    dbc_paths: tuple[Path, ...] | None
    """What its frames mean; None: the simulated car's own."""
    seconds: int
    """How long it is taken in at most."""


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc demo`."""
    demo = subcommands.add_parser(
        "demo",
        help="the whole flow in half a minute, no hardware needed",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n  cpc demo\n"
        "  cpc demo --trace trip.trc --dbc car.dbc\n  cpc demo --keep demo-site",
    )
    demo.add_argument("--trace", type=Path, help="replay this trace instead of the simulated car")
    demo.add_argument("--dbc", type=Path, action="append", default=[], help="what the trace's frames mean")
    demo.add_argument(
        "--seconds",
        type=whole_number,
        default=SECONDS,
        help=f"how long to drive, or to replay at most: up to {SECONDS_MAX} [{SECONDS}]",
    )
    demo.add_argument("--keep", type=Path, help="make the gateway in this new folder and leave it there")
    demo.set_defaults(run=run_demo)


async def run_demo(args: Namespace) -> int:
    """`cpc demo`."""
    output = Output(args)
    logging.getLogger("cpc").setLevel(logging.WARNING)
    drive = await _drive(args)
    if args.keep is not None and args.keep.exists():
        raise UsageError(f"{args.keep} exists already; name a new folder, or remove it")
    folder = args.keep or Path(tempfile.mkdtemp(prefix="cpc-demo-"))
    try:
        return await _demo(output, folder, drive)
    finally:
        if args.keep is None:
            shutil.rmtree(folder)


async def _drive(args: Namespace) -> Drive:
    """What the options name; files that are no use are found out here, before anything is started."""
    if not 1 <= args.seconds <= SECONDS_MAX:
        raise UsageError(f"--seconds goes from 1 to {SECONDS_MAX}")
    if args.trace is None:
        if args.dbc:
            raise UsageError("--dbc goes with --trace; the simulated car brings its own")
        source = f"sim:car?rate_hz=1000&seconds={args.seconds}"
        return Drive(
            source, f"a simulated car, 1000 frames a second for {args.seconds} s", None, args.seconds
        )
    for path in (args.trace, *args.dbc):
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    # In real time, so that there is something to watch; a long trace is cut by time, not by speed.
    source = f"replay:{args.trace.absolute()}?speed=1"
    await open_source(source, name="trace").close()
    DbcDecoder.load(args.dbc)
    dbc_paths = tuple(path.absolute() for path in args.dbc)
    return Drive(source, f"{args.trace}, at most its first {args.seconds} s", dbc_paths, args.seconds)


async def _demo(output: Output, folder: Path, drive: Drive) -> int:
    _heading(output, "1. A main chain and a gateway")
    # Only here: every other command would carry the server that this brings.
    from chain_node.dev import DevNode

    async with DevNode.create_or_open(
        folder / "chain",
        port=0,
        validator_count=VALIDATOR_COUNT,
        block_period_ms=BLOCK_PERIOD_MS,
        heartbeat_ms=BLOCK_PERIOD_MS,
        timeout_ms=BLOCK_TIMEOUT_MS,
    ) as node:
        names = ["car.dbc"] if drive.dbc_paths is None else [str(path) for path in drive.dbc_paths]
        text = CONFIG.format(
            node_url=node.url, source=_quoted(drive.source), dbc=f"[{', '.join(map(_quoted, names))}]"
        )
        site = folder / "site"
        key = make_site(site, checked_text(text), node.genesis, drive.dbc_paths is None)
        config = load(site / CONFIG_NAME)
        output.line(
            f"chain     {node.genesis.name}, {VALIDATOR_COUNT} validators, of which any "
            f"{quorum.size(VALIDATOR_COUNT)} make a block final, at {node.url}"
        )
        output.line(f"gateway   {did_key(key.identity.public)}")
        output.line(f"source    {drive.name}")
        decoder = _decoder(output, config)

        _heading(output, "2. Records in: batched, sealed, stored, anchored")
        outage = Outage(output, node)
        await _run_gateway(output, config, key, drive, decoder, outage)
        return await asyncio.to_thread(_prove, output, config, key, decoder)


def _decoder(output: Output, config: GatewayConfig) -> DbcDecoder | None:
    paths = config.dbc_paths(config.streams[0])
    try:
        return DbcDecoder.load(paths) if paths else None
    except MissingExtra as error:
        output.line(f"          (frames are shown as they are: {error})")
        return None


# ------------------------------------------------------------------- records in


async def _run_gateway(
    output: Output,
    config: GatewayConfig,
    key: GatewayKey,
    drive: Drive,
    decoder: DbcDecoder | None,
    outage: Outage,
) -> None:
    async with GatewayApp(config, key, load_genesis(config.genesis_path)) as app:
        # A little longer than the drive, which so ends by itself.
        timer = asyncio.get_running_loop().call_later(drive.seconds + 1, app.stop)
        async with asyncio.TaskGroup() as group:
            show = group.create_task(_show(output, config, key, app, decoder))
            group.create_task(outage.run(app.uploader))
            await app.run(ANCHOR_TIMEOUT_MS)
            outage.is_over = True
            show.cancel()
        timer.cancel()
        stream = app.streams[0]
        output.line(
            f"\n{stream.pipeline.accepted_count} records taken in, {app.uploader.anchored_count} uploads "
            f"anchored; {stream.source.stats.dropped} frames dropped, "
            f"{stream.source.stats.damaged} lines damaged"
        )


async def _show(
    output: Output, config: GatewayConfig, key: GatewayKey, app: GatewayApp, decoder: DbcDecoder | None
) -> None:
    """Live values and counts, once a second."""
    tail = Tail(config, config.streams[0], key)
    try:
        while True:
            await asyncio.sleep(SHOW_MS / 1000)
            newest: dict[int, Record] = {}
            for record in tail.poll().records:
                if isinstance(record.value, CanFrame):
                    newest[record.value.arbitration_id] = record
            counts = await app.in_spool_thread(app.spool.counts)
            output.line(
                f"{app.streams[0].pipeline.accepted_count:>7} records durable   "
                f"{counts.segments:>2} sealed segments wait   {counts.uploads:>2} uploads on their way   "
                f"{app.uploader.anchored_count:>2} anchored"
            )
            for record in _most_telling(newest, decoder):
                output.line(clipped(f"        {record.value!s:<22} {_signals(record, decoder)}".rstrip()))
    finally:
        tail.close()


def _most_telling(newest: dict[int, Record], decoder: DbcDecoder | None) -> list[Record]:
    """The records of a few ids, the same every time: those that can be decoded, if any can."""
    records = [newest[ident] for ident in sorted(newest)]
    if decoder is not None:
        known = [record for record in records if decoder.decode(record.value)]
        records = known or records
    return records[:MESSAGES_SHOWN]


def _signals(record: Record, decoder: DbcDecoder | None) -> str:
    """The first signals of a frame, and its message's name."""
    values = described(record, decoder).get("values", {})
    if decoder is None or not values:
        return ""
    shown = [f"{name}={signal_text(value)}" for name, value in values.items()][:SIGNALS_SHOWN]
    return f"{decoder.name(record.value)}: {'  '.join(shown)}"


# -------------------------------------------------------------------- proof out


def _prove(output: Output, config: GatewayConfig, key: GatewayKey, decoder: DbcDecoder | None) -> int:
    genesis = load_genesis(config.genesis_path)
    with open_as_owner(config.file, None) as owner:
        record = _one_record(owner)
        if record is None:
            output.note("no frame was taken in and anchored, so there is nothing to prove")
            return EXIT_FAILED
        _heading(output, f"3. The proof of one record: cpc verify {record.name}")
        is_proven = show_record(output, owner, record.name, genesis)
        if meaning := _signals(record, decoder):
            output.line(clipped(f"        {meaning}"))

        is_confined = _grant(output, config, key, owner)

        _heading(output, "5. One bit flips in the store: cpc verify again")
        is_damage_named = _damage(output, config, owner, record.name, genesis)
    is_ok = is_proven and is_confined and is_damage_named
    output.line(f"\n{'done: everything held' if is_ok else 'NOT everything held; see above'}")
    return EXIT_OK if is_ok else EXIT_NOT_PROVEN


def _one_record(owner: Reader) -> Record | None:
    """A frame from the middle of what is anchored."""
    archive = owner.archive
    anchored = [index for index in archive.upload_indexes() if archive.evidence(index) is not None]
    for upload_index in _from_the_middle(anchored):
        places = [(segment, place) for segment, place, _ in archive.manifest(upload_index).chunks()]
        for segment, place in _from_the_middle(places):
            for record in _from_the_middle(list(archive.open_block(segment, place).records())):
                if isinstance(record.value, CanFrame):
                    return record
    return None


def _from_the_middle(items: list[Item]) -> Iterator[Item]:
    middle = len(items) // 2
    yield from items[middle:]
    yield from reversed(items[:middle])


def _grant(output: Output, config: GatewayConfig, key: GatewayKey, owner: Reader) -> bool:
    """Grants the middle of the stream to a new reader; whether exactly that opens."""
    stream = config.streams[0]
    keys = stream_keys(key, stream)
    records = list(owner.archive.records(*EVER_NS, ReadReport()))
    first_ns, last_ns = owner.span_ns()
    # Of a short trace the half, so that something stays closed.
    slot_count = max(min(GRANTED_NS, (last_ns - first_ns) // 2) // (stream.slot_ms * 1_000_000), 1)
    first = slot_of((first_ns + last_ns) // 2, stream.slot_ms) - slot_count // 2
    last = first + slot_count - 1
    _heading(output, f"4. {slot_count} second{'s'[: slot_count - 1]} for a reader: cpc grant, cpc read")
    reader_key_path, grant_path = config.file.parent / "reader.key", config.file.parent / "reader.grant"
    reader_key = create_reader_key(reader_key_path)
    data = make_grant(
        key.identity, keys.tree, keys.stream_id, stream.name, stream.slot_ms, first, last, reader_key.public
    )
    Disk().write_file_atomic(grant_path, data, mode=0o644)
    begin_ns, end_ns = slot_start_ns(first, stream.slot_ms), slot_end_ns(last, stream.slot_ms)
    output.line(f"granted   {moment_text(begin_ns)} to {moment_text(end_ns)}, in {len(data)} bytes")
    report = ReadReport()
    reader, _ = open_as_reader(grant_path, reader_key_path, config.store_path, ())
    with reader:
        opened = [record.name for record in reader.archive.records(*EVER_NS, report)]
    expected = [record.name for record in records if begin_ns <= record.taken_ns < end_ns]
    is_exact = opened == expected and report.not_granted_count == len(records) - len(expected)
    output.line(
        f"opens     {len(opened)} of {len(records)} records: "
        f"{'exactly those of that time' if is_exact else f'NOT the {len(expected)} of that time'}"
    )
    output.line(f"closed    {report.not_granted_count} records, whose keys the grant does not give")
    return is_exact


def _damage(output: Output, config: GatewayConfig, owner: Reader, name: RecordName, genesis: Genesis) -> bool:
    """Flips one bit of the record's chunk, and flips it back; whether the proof tells both."""
    location: Location = owner.archive.locate(name)
    chunk = location.chunk
    offset = chunk.chunk_size // 2
    flip_bit(config.store_path, chunk.chunk_id, offset, FLIPPED_BIT)
    output.line(f"flipped bit {FLIPPED_BIT} of byte {offset} of chunk {short(chunk.chunk_id.hex())}")
    is_named = not show_record(output, owner, name, genesis)
    flip_bit(config.store_path, chunk.chunk_id, offset, FLIPPED_BIT)
    proof = collect(owner.archive, owner.owner, name)
    is_repaired = all(link.is_ok for link in proof.links(genesis, lambda record: None))
    output.line(f"flipped it back: {'proven again' if is_repaired else 'still NOT proven'}")
    return is_named and is_repaired


def flip_bit(store_path: Path, chunk_id: bytes, offset: int, bit: int) -> None:
    """Changes one bit of a stored chunk, past the store's own code, as a failing card does."""
    name = chunk_id.hex()
    file = store_path / "chunks" / name[:2] / name
    if file.exists():
        data = bytearray(file.read_bytes())
        data[offset] ^= 1 << bit
        file.write_bytes(data)
        return
    database = apsw.Connection(str(store_path / "store.db"))
    try:
        body: bytes = database.execute("SELECT body FROM chunk WHERE chunk_id = ?", (chunk_id,)).get
        data = bytearray(body)
        data[offset] ^= 1 << bit
        database.execute("UPDATE chunk SET body = ? WHERE chunk_id = ?", (bytes(data), chunk_id))
    finally:
        database.close()


def _heading(output: Output, text: str) -> None:
    output.line(f"\n{text}\n{'-' * len(text)}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
