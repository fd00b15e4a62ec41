"""`cpc demo`: the whole first flow in half a minute, without hardware: a car in, a proof out.

Runs on CPython.  A composition root: it starts a development chain and a gateway in this process, in a
folder that it removes at the end, and does with them what a user does with the other commands.
"""

import asyncio
import logging
import shutil
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from pathlib import Path

import apsw

from chain_node.dev import DevNode
from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.archive import ReadReport
from gateway.cli_gateway import CONFIG_NAME, make_site
from gateway.cli_output import EXIT_FAILED, EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, moment_text
from gateway.cli_read import described
from gateway.cli_verify import show_links
from gateway.config import GatewayConfig, load
from gateway.crypto.grant import make_grant
from gateway.crypto.key_file import GatewayKey, create_reader_key
from gateway.crypto.slot import slot_end_ns, slot_start_ns, slots_within
from gateway.disk import Disk
from gateway.proof import collect
from gateway.record import Record
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.source import parse_url
from gateway.site import Reader, open_as_owner, open_as_reader, stream_keys
from gateway.tail import Tail
from obd.can_frame import CanFrame
from puf.did import did_key

SECONDS = 14
"""How long the car drives, or the trace is replayed at most."""
GRANTED_NS = 5_000_000_000
SHOW_MS = 1_000
MESSAGES_SHOWN = 4
SIGNALS_SHOWN = 3
ANCHOR_TIMEOUT_MS = 15_000

CONFIG = """\
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
    demo.add_argument("--keep", type=Path, help="make the gateway in this new folder and leave it there")
    demo.set_defaults(run=run_demo)


async def run_demo(args: Namespace) -> int:
    """`cpc demo`."""
    output = Output(args)
    logging.getLogger("cpc").setLevel(logging.WARNING)
    source, dbc_paths = _source(args)
    if args.keep is not None and args.keep.exists():
        raise UsageError(f"{args.keep} exists already; name a new folder, or remove it")
    folder = args.keep or Path(tempfile.mkdtemp(prefix="cpc-demo-"))
    try:
        return await _demo(output, folder, source, dbc_paths)
    finally:
        if args.keep is None:
            shutil.rmtree(folder)


def _source(args: Namespace) -> tuple[str, list[Path]]:
    if args.trace is None:
        if args.dbc:
            raise UsageError("--dbc goes with --trace; the simulated car brings its own")
        return f"sim:car?rate_hz=1000&seconds={SECONDS}", []
    if not args.trace.is_file():
        raise UsageError(f"there is no trace file {args.trace}")
    for path in args.dbc:
        if not path.is_file():
            raise UsageError(f"there is no DBC file {path}")
    # Real time, so that there is something to watch; a long trace is cut by time, not by speed.
    source = f"replay:{args.trace.resolve()}?speed=1"
    parse_url(source)
    return source, [path.resolve() for path in args.dbc]


async def _demo(output: Output, folder: Path, source: str, dbc_paths: list[Path]) -> int:
    _heading(output, "1. A main chain and a gateway")
    async with DevNode.create_or_open(folder / "chain", port=0) as node:
        is_simulated = source.startswith("sim:")
        names = ["car.dbc"] if is_simulated else [str(path) for path in dbc_paths]
        text = CONFIG.format(
            node_url=node.url, source=_quoted(source), dbc=f"[{', '.join(map(_quoted, names))}]"
        )
        site = folder / "site"
        key = make_site(site, text, node.genesis, is_simulated)
        config = load(site / CONFIG_NAME)
        output.line(
            f"chain    {node.genesis.name}, a committee of {len(node.genesis.validators)}, at {node.url}"
        )
        output.line(f"gateway  {did_key(key.identity.public)}")
        output.line(f"source   {source}")

        _heading(output, "2. Records in: batched, sealed, stored, anchored")
        app = await _run_gateway(output, config, key)
        return await asyncio.to_thread(_prove, output, config, key, app)


async def _run_gateway(output: Output, config: GatewayConfig, key: GatewayKey) -> GatewayApp:
    async with GatewayApp(config, key, load_genesis(config.genesis_path)) as app:
        asyncio.get_running_loop().call_later(SECONDS + 2, app.stop)
        async with asyncio.TaskGroup() as group:
            show = group.create_task(_show(output, config, key, app))
            await app.run(ANCHOR_TIMEOUT_MS)
            show.cancel()
        stream = app.streams[0]
        output.line(
            f"\n{stream.pipeline.accepted_count} records taken in, "
            f"{app.uploader.anchored_count} uploads anchored; "
            f"dropped {stream.source.stats.dropped}, damaged {stream.source.stats.damaged}"
        )
        return app


async def _show(output: Output, config: GatewayConfig, key: GatewayKey, app: GatewayApp) -> None:
    """Live values and counts, once a second."""
    stream = config.streams[0]
    paths = config.dbc_paths(stream)
    decoder = DbcDecoder.load(paths) if paths else None
    tail = Tail(config, stream, key)
    try:
        while True:
            await asyncio.sleep(SHOW_MS / 1000)
            newest: dict[int, Record] = {}
            for record in tail.poll().records:
                if isinstance(record.value, CanFrame) and (
                    decoder is None or decoder.decode(record.value) is not None
                ):
                    newest[record.value.arbitration_id] = record
            for record in list(newest.values())[:MESSAGES_SHOWN]:
                output.line(f"  {record.name!s:<14} {_live_text(record, decoder)}")
            counts = await app.in_spool_thread(app.spool.counts)
            output.line(
                f"  -- {app.streams[0].pipeline.accepted_count} records durable, "
                f"{counts.segments} sealed segments and {counts.uploads} uploads under way, "
                f"{app.uploader.anchored_count} uploads anchored"
            )
    finally:
        tail.close()


def _live_text(record: Record, decoder: DbcDecoder | None) -> str:
    """A record on one line of a terminal: the frame and the first of its signals."""
    values = described(record, decoder).get("values", {})
    shown = [f"{name}={value}" for name, value in values.items()][:SIGNALS_SHOWN]
    return f"{record.value!s:<22} " + "  ".join(shown)


def _prove(output: Output, config: GatewayConfig, key: GatewayKey, app: GatewayApp) -> int:
    owner = open_as_owner(config.file, None)
    indexes = owner.archive.upload_indexes()
    anchored = [index for index in indexes if owner.archive.evidence(index) is not None]
    if not anchored:
        output.note("nothing was anchored; see the messages above")
        return EXIT_FAILED
    genesis = load_genesis(config.genesis_path)
    middle = anchored[len(anchored) // 2]
    first_ns, last_ns = owner.span_ns()
    records = list(owner.archive.records(first_ns, last_ns + 1, ReadReport()))
    chunks = [chunk for _, _, chunk in owner.archive.manifest(middle).chunks()]
    chunk = chunks[len(chunks) // 2]
    record = next(
        record
        for record in records
        if chunk.holds(record.name.boot, record.name.seq) and isinstance(record.value, CanFrame)
    )

    _heading(output, f"3. The proof of one record: cpc verify {record.name}")
    is_proven = show_links(output, collect(owner.archive, owner.owner, record.name), genesis)

    _heading(output, "4. Five seconds for a reader: cpc grant, cpc read")
    is_confined = _grant(output, config, key, owner, records)

    _heading(output, "5. One bit of one byte flips in the store: cpc verify again")
    offset = chunk.chunk_size // 2
    flip_bit(config.store_path, chunk.chunk_id, offset, 3)
    output.line(f"flipped bit 3 of byte {offset} of chunk {chunk.chunk_id.hex()[:16]}")
    is_damage_named = not show_links(output, collect(owner.archive, owner.owner, record.name), genesis)
    flip_bit(config.store_path, chunk.chunk_id, offset, 3)
    is_repaired = all(
        link.is_ok
        for link in collect(owner.archive, owner.owner, record.name).links(genesis, lambda record: None)
    )
    output.line(f"flipped it back: {'proven again' if is_repaired else 'still NOT proven'}")
    owner.archive.store.close()
    is_ok = is_proven and is_confined and is_damage_named and is_repaired
    output.line(f"\n{'done: everything held' if is_ok else 'NOT everything held; see above'}")
    return EXIT_OK if is_ok else EXIT_NOT_PROVEN


def _grant(
    output: Output, config: GatewayConfig, key: GatewayKey, owner: Reader, records: list[Record]
) -> bool:
    """Grants the middle of the stream to a new reader; whether exactly that opens."""
    stream = config.streams[0]
    keys = stream_keys(key, stream)
    first_ns, last_ns = records[0].taken_ns, records[-1].taken_ns
    from_ns = max((first_ns + last_ns - GRANTED_NS) // 2, first_ns)
    slots = slots_within(from_ns, from_ns + GRANTED_NS + stream.slot_ms * 1_000_000, stream.slot_ms)
    if slots is None:
        output.line("the trace is too short for a whole segment to be granted")
        return True
    slot_count = GRANTED_NS // (stream.slot_ms * 1_000_000)
    first, last = slots[0], min(slots[1], slots[0] + slot_count - 1)
    reader_key_path = config.file.parent / "reader.key"
    reader_key = create_reader_key(reader_key_path)
    grant_path = config.file.parent / "reader.grant"
    data = make_grant(
        key.identity, keys.tree, keys.stream_id, stream.name, stream.slot_ms, first, last, reader_key.public
    )
    Disk().write_file_atomic(grant_path, data)
    begin_ns, end_ns = slot_start_ns(first, stream.slot_ms), slot_end_ns(last, stream.slot_ms)
    output.line(f"granted  {moment_text(begin_ns)} to {moment_text(end_ns)}, {len(data)} bytes")
    reader, _ = open_as_reader(grant_path, reader_key_path, config.store_path, ())
    report = ReadReport()
    opened = [record.name for record in reader.archive.records(first_ns, last_ns + 1, report)]
    reader.archive.store.close()
    expected = [record.name for record in records if begin_ns <= record.taken_ns < end_ns]
    output.line(f"opens    {len(opened)} of {len(records)} records: exactly those of that time")
    output.line(f"closed   {report.not_granted_count} records; their keys cannot be computed from the grant")
    return opened == expected and report.not_granted_count == len(records) - len(expected)


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
