"""`cpc init`, `cpc run`, `cpc status`: set a gateway up, run it, see how it is doing.

Runs on CPython.
"""

import asyncio
import fcntl
import logging
import os
import signal
from argparse import (
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from importlib.resources import files
from pathlib import Path
from typing import Any

from chain_node.wire import Genesis, NodeUnavailable
from gateway.anchor import load_genesis
from gateway.app import GatewayApp
from gateway.archive import evidence_name
from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError, whole_number
from gateway.config import ConfigError, GatewayConfig, load, parse
from gateway.config_template import template
from gateway.crypto.key_file import GatewayKey, create_gateway_key, load_gateway_key
from gateway.database import open_database
from gateway.disk import Disk, DiskError
from gateway.errors import GatewayError, NotRunYet
from gateway.sensors.schemes import parse_url, resolved
from gateway.sensors.source import SourceError
from gateway.spool_rows import SCHEMA, SCHEMA_VERSION, SpoolCounts, read_counts, read_streams
from gateway.store import LocalStore
from puf.did import did_key

log = logging.getLogger("cpc.gateway")

CONFIG_NAME = "gateway.toml"
PROGRESS_PERIOD_MS = 500
GENESIS_NAME = "genesis.cbor"
KEY_NAME = "gateway.key"
NODE_WAIT_MS = 10_000
NODE_RETRY_MS = 300


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands of this file."""
    init = subcommands.add_parser(
        "init",
        help="make the folder of a new gateway: configuration, key, trusted chain",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  cpc init site --node http://127.0.0.1:7545\n"
        "  cpc init site --genesis genesis.cbor --source can:can0 --dbc car.dbc\n"
        "  cpc init site --genesis genesis.cbor --source 'replay:trip.trc?speed=1'\n\n"
        "Undo it by removing the folder; without its gateway.key nobody can read what the gateway sealed.",
    )
    init.add_argument(
        "folder", type=Path, help="folder to make; an existing configuration is never overwritten"
    )
    init.add_argument("--name", default="gateway", help="how the gateway calls itself [gateway]")
    init.add_argument("--stream", default="can0", help="name of its first stream [can0]")
    init.add_argument("--source", default="sim:car", help="where the stream's records come from [sim:car]")
    init.add_argument("--dbc", action="append", default=[], help="a DBC file that says what the frames mean")
    init.add_argument(
        "--node", default="http://127.0.0.1:7545", help="a node of the chain that anchors go to"
    )
    init.add_argument(
        "--genesis",
        type=Path,
        help="the chain's genesis file; without it the node is asked, this once, and believed",
    )
    init.add_argument(
        "--wait-ms",
        type=whole_number,
        default=NODE_WAIT_MS,
        help=f"how long to wait for the node to answer [{NODE_WAIT_MS}]",
    )
    init.add_argument("--json", action="store_true", help="print JSON")
    init.set_defaults(run=run_init)

    run = subcommands.add_parser(
        "run",
        help="run the gateway: take records in, seal, store and anchor them",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n  cpc run -c site/gateway.toml\n  cpc run -c site/gateway.toml --seconds 60\n\n"
        "Ends by itself when every source has ended; Ctrl-C or SIGTERM end it in order at any time, a\n"
        "second one without waiting for anchors.  Exit code 1: not everything is anchored, the rest waits\n"
        "in the spool for the next run.  SIGHUP reads the configuration again: what has changed changes\n"
        "while it runs; a file that cannot be used is refused, and changes nothing.",
    )
    add_config_option(run)
    run.add_argument("--seconds", type=whole_number, help="stop after so many seconds")
    run.add_argument(
        "--anchor-timeout-ms",
        type=whole_number,
        default=10_000,
        help="how long to wait at the end for anchors to become final [10000]",
    )
    run.add_argument("--json", action="store_true", help="print JSON")
    run.set_defaults(run=run_run)

    status = subcommands.add_parser(
        "status",
        help="what waits in the spool, what is stored and anchored",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="example:\n  cpc status -c site/gateway.toml --json",
    )
    add_config_option(status)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=run_status)


def add_config_option(command: ArgumentParser) -> None:
    """Adds `-c`: which gateway is meant."""
    command.add_argument(
        "-c",
        "--config",
        type=Path,
        default=Path(CONFIG_NAME),
        help=f"the gateway's configuration [{CONFIG_NAME}]",
    )


async def run_init(args: Namespace) -> int:
    """`cpc init`."""
    output = Output(args)
    folder: Path = args.folder
    config_path = folder / CONFIG_NAME
    if config_path.exists():
        raise UsageError(
            f"{config_path} exists already and is not overwritten: edit it, name another folder, "
            "or move it away to make a new one beside the same key"
        )
    text, is_simulated = _first_configuration(args)
    try:
        parse(text, config_path)
    except ConfigError as error:
        raise UsageError(f"these options make no configuration:\n{error}") from error
    genesis = await _genesis(args, output)
    genesis_path = folder / GENESIS_NAME
    if genesis_path.exists() and load_genesis(genesis_path).chain_id != genesis.chain_id:
        raise UsageError(
            f"{genesis_path} is there already, and of another chain than {genesis.name} "
            f"{genesis.chain_id.hex()[:16]}; move it away to trust that one"
        )
    is_key_old = (folder / KEY_NAME).exists()
    key = make_site(folder, text, genesis, is_simulated)
    did = did_key(key.identity.public)
    trusted = "the genesis file" if args.genesis else f"what {args.node} said, this once"
    output.value(
        {"config": str(config_path), "did": did, "chain_id": genesis.chain_id.hex()},
        f"made {config_path}\n"
        f"  gateway  {did}{' (its key was there already)' if is_key_old else ''}\n"
        f"  chain    {genesis.name}, {genesis.chain_id.hex()}\n"
        f"           {len(genesis.validators)} validator(s), trusted because of {trusted}\n"
        f"next: cpc run -c {config_path}",
    )
    return EXIT_OK


def make_site(folder: Path, text: str, genesis: Genesis, is_simulated: bool) -> GatewayKey:
    """Makes a gateway's folder: key (an existing one is kept), trusted genesis, configuration `text`.

    is_simulated: whether the simulated car's DBC file is wanted beside it.
    """
    disk = Disk()
    disk.make_directory(folder)
    key_path = folder / KEY_NAME
    key = load_gateway_key(key_path) if key_path.exists() else create_gateway_key(key_path)
    disk.write_file_atomic(folder / GENESIS_NAME, genesis.data, mode=0o644)
    if is_simulated:
        car = files("gateway.sensors").joinpath("car.dbc").read_bytes()
        disk.write_file_atomic(folder / "car.dbc", car, mode=0o644)
    # Last, so that a folder with a configuration is complete.
    disk.write_file_atomic(folder / CONFIG_NAME, text.encode(), mode=0o644)
    return key


def _first_configuration(args: Namespace) -> tuple[str, bool]:
    """(text of the configuration, whether it uses the simulated car's own DBC)."""
    url, scheme = parse_url(args.source)
    if scheme.is_file and not Path(url.target).is_file():
        raise UsageError(f"there is no file {url.target}")
    # The configuration's paths start from its own folder, the command line's from here.
    source = resolved(args.source, Path.cwd())
    dbc_files = [Path(name).absolute() for name in args.dbc]
    for file in dbc_files:
        if not file.is_file():
            raise UsageError(f"there is no DBC file {file}")
    is_simulated = source.startswith("sim:car") and not dbc_files
    names = ["car.dbc"] if is_simulated else [str(file) for file in dbc_files]
    text = template(name=args.name, node_url=args.node, stream=args.stream, source=source, dbc=names)
    return checked_text(text), is_simulated


def checked_text(text: str) -> str:
    """`text`, if it can be a configuration file.  Raises UsageError."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "the name of a file or folder is not UTF-8, so the configuration cannot have it: "
            f"rename it, or make a link to it ({text[max(error.start - 40, 0) : error.end]!a})"
        ) from error
    return text


async def _genesis(args: Namespace, output: Output) -> Genesis:
    if args.genesis is not None:
        return load_genesis(args.genesis)
    from chain_node.light_http import NodeClient

    loop = asyncio.get_running_loop()
    ends_at = loop.time() + args.wait_ms / 1000
    is_told = False
    async with NodeClient(args.node) as client:
        while True:
            try:
                return await client.genesis()
            except NodeUnavailable:
                # It may have been started a moment ago, on the line before.
                if loop.time() >= ends_at:
                    raise
            if not is_told:
                output.note(f"waiting for a node at {args.node}")
                is_told = True
            await asyncio.sleep(NODE_RETRY_MS / 1000)


async def _show_progress(app: GatewayApp, output: Output) -> None:
    """How far sources that have an end are; of live ones there is nothing to show."""
    with output.progress("reading") as progress:
        while True:
            await asyncio.sleep(PROGRESS_PERIOD_MS / 1000)
            sources = [stream.source.progress() for stream in app.streams]
            if any(total for _, total in sources):
                progress(sum(done for done, total in sources if total), sum(total for _, total in sources))


def _tell_of_bug(task: "asyncio.Task[None]") -> None:
    """What runs beside the gateway must not end it, and not end in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a part of the gateway has ended: %r; the rest goes on, restart it soon", error)


async def run_run(args: Namespace) -> int:
    """`cpc run`."""
    output = Output(args)
    config = load(args.config)
    key = load_gateway_key(config.key_path)
    async with GatewayApp(config, key, load_genesis(config.genesis_path)) as app:
        _stop_on_signals(app, output)
        _reload_on_signal(app)
        if args.seconds is not None:
            asyncio.get_running_loop().call_later(args.seconds, app.stop)
        output.line(f"gateway {config.gateway.name}  {did_key(key.identity.public)}")
        for stream in app.streams:
            output.line(f"stream {stream.config.name} from {stream.config.source}")
        # Only here: it stands on what uses this file.
        from gateway.cli_status_keeper import keep_status_list

        beside = [
            asyncio.create_task(_show_progress(app, output)),
            asyncio.create_task(keep_status_list(lambda: app.config, key, output)),
        ]
        for task in beside:
            task.add_done_callback(_tell_of_bug)
        try:
            await app.run(args.anchor_timeout_ms)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
        counts = await app.in_spool_thread(app.spool.counts)
        summary: dict[str, Any] = {
            "anchored_uploads": app.uploader.anchored_count,
            "waiting_uploads": counts.uploads,
            "waiting_segments": counts.segments,
            "waiting_records": counts.records,
            "streams": {
                stream.config.name: {
                    "records": stream.pipeline.accepted_count,
                    "dropped": stream.source.stats.dropped,
                    "damaged": stream.source.stats.damaged,
                }
                for stream in app.streams
            },
        }
    output.value(summary)
    for name, stats in summary["streams"].items():
        output.line(f"{name}: " + ", ".join(f"{count} {what}" for what, count in stats.items()))
    output.line(f"uploads: {counts_text(summary['anchored_uploads'], counts)}")
    is_all = not (counts.uploads or counts.segments or counts.records)
    return EXIT_OK if is_all else EXIT_FAILED


def counts_text(anchored_count: int, counts: SpoolCounts) -> str:
    """What was anchored, and what the spool keeps."""
    return f"{anchored_count} anchored" + (
        f"; in the spool wait {counts.uploads} uploads, {counts.segments} segments, {counts.records} records"
        if counts.uploads or counts.segments or counts.records
        else ""
    )


def _stop_on_signals(app: GatewayApp, output: Output) -> None:
    def stop() -> None:
        if app.is_stopping:
            app.hurry()
            return
        output.note("stopping: what was taken in is sealed, stored and anchored (again: not anchored)")
        app.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _reload_on_signal(app: GatewayApp) -> None:
    """SIGHUP reads the configuration again.  The log says what came of it."""
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await app.reload(load(app.config.file))
        except (GatewayError, SourceError, DiskError) as error:
            log.error("configuration not reloaded, the one before goes on: %s", error)

    def begin() -> None:
        task = asyncio.create_task(reload())
        # A loop holds its tasks only weakly.
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)


def run_status(args: Namespace) -> int:
    """`cpc status`."""
    output = Output(args)
    config = load(args.config)
    status = read_status(config)
    output.value(status)
    output.line(f"gateway {'runs' if status['is_running'] else 'does not run'}")
    for name, stream in status["streams"].items():
        output.line(
            f"stream {name}: {stream['blocks']} blocks in {stream['uploads']} uploads sealed, "
            f"{stream['anchored_uploads']} uploads anchored"
        )
    spool = status["spool"]
    output.line(
        f"spool: {spool['records']} records not sealed, {spool['segments_unstored']} segments not stored, "
        f"{spool['uploads']} uploads not anchored; {_mib(spool['used_bytes'])} of "
        f"{_mib(spool['limit_bytes'])} used"
    )
    output.line(f"disk: {_mib(status['disk_free_bytes'])} free")
    if status["status_list"] is not None:
        from gateway.cli_status_keeper import status_text

        output.line(status_text(status["status_list"]))
    return EXIT_OK


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MiB"


def read_status(config: GatewayConfig) -> dict[str, Any]:
    """What `cpc status` shows; works beside a running gateway and without one."""
    from gateway.cli_status_keeper import read_list_state, status_json

    path = config.spool_path / "spool.db"
    if not path.exists():
        raise NotRunYet(path)
    database = open_database(path, schema=SCHEMA, schema_version=SCHEMA_VERSION, read_only=True)
    try:
        store = LocalStore(config.store_path, is_read_only=True)
    except BaseException:
        database.close()
        raise
    try:
        counts = read_counts(database, config.spool.size_max_mib << 20)
        streams: dict[str, Any] = {}
        for stream in read_streams(database):
            # A stream whose slots were changed is another one of the same name.
            name = f"{stream.name} ({stream.slot_ms} ms)" if stream.name in streams else stream.name
            streams[name] = {
                "stream_id": stream.stream_id.hex(),
                "kind": stream.kind,
                "blocks": stream.next_block,
                "uploads": stream.next_upload,
                "anchored_uploads": len(store.names(evidence_name(stream.stream_id, 0)[:-10])),
            }
    finally:
        database.close()
        store.close()
    return {
        "is_running": is_running(config),
        "streams": streams,
        "spool": {name: getattr(counts, name) for name in type(counts).__slots__},
        "disk_free_bytes": Disk().free_bytes(config.spool_path),
        "status_list": status_json(read_list_state(config.file.parent)),
    }


def is_running(config: GatewayConfig) -> bool:
    """A gateway holds the lock of this configuration's spool."""
    try:
        descriptor = os.open(config.spool_path / "gateway.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
