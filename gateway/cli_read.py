"""`cpc inspect`, `cpc tail`, `cpc read`, `cpc export`: look into traces, live streams and the archive.

Runs on CPython.  Frames are decoded here, when somebody looks, never on the way in.
"""

import csv
import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gateway.archive import ReadReport
from gateway.cli_gateway import add_config_option, is_running
from gateway.cli_output import (
    EXIT_FAILED,
    EXIT_NOT_PROVEN,
    EXIT_OK,
    MOMENT_HELP,
    Output,
    UsageError,
    json_text,
    moment_text,
    parse_moment,
    whole_number,
)
from gateway.config import GatewayConfig, StreamConfig, load
from gateway.crypto.key_file import load_gateway_key
from gateway.database import DatabaseError
from gateway.disk import PART_SUFFIX, disk_error
from gateway.errors import NotRunYet
from gateway.record import Record
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.schemes import open_source
from gateway.sensors.source import Gap
from gateway.site import Reader, open_as_owner, open_as_reader, stream_of
from gateway.tail import Tail
from obd.can_frame import CanFrame
from puf.did import did_key

EVER_NS = (-(1 << 63), 1 << 63)
"""Every moment that a record can have lies between."""
RELATIVE = ("start", "end")
PROBLEMS_SHOWN_MAX = 20
"""Problems of a read that a person is shown."""
TAIL_POLL_MS = 200
TAIL_WAIT_MS = 10_000
"""How long a gateway that has never run is waited for."""
TAIL_SHOW_MS = 500
"""How often `cpc tail` prints the newest values of each message, unless --all is given."""
TAIL_LOOK_MS = 2_000
"""How often it looks whether the gateway runs.  Looking holds the gateway's lock for a moment."""


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands of this file."""
    inspect = _command(
        subcommands,
        "inspect",
        "read a trace file without a gateway: frames, ids, damage, what the DBC explains",
        "  cpc inspect trip.trc\n  cpc inspect candump.log --dbc car.dbc",
    )
    inspect.add_argument("trace", type=Path, help="PCAN .trc, candump (log or console), Vector .asc or .blf")
    add_dbc_option(inspect)
    inspect.set_defaults(run=run_inspect)

    tail = _command(
        subcommands,
        "tail",
        "show what a running gateway takes in, decoded, live",
        "  cpc tail -c site/gateway.toml\n  cpc tail -c site/gateway.toml --all --json | jq .values",
    )
    add_config_option(tail)
    tail.add_argument("--stream", help="which stream [the first]")
    tail.add_argument("--all", action="store_true", help="every record, not the newest of each message")
    tail.add_argument("--seconds", type=whole_number, help="stop after so many seconds")
    _add_raw_option(tail)
    tail.set_defaults(run=run_tail)

    read = _command(
        subcommands,
        "read",
        "show stored records, with the gateway's key or with a grant",
        "  cpc read -c site/gateway.toml --from start --to start+1s\n"
        "  cpc read --grant for-bob.grant --key bob.key --store /media/usb/store",
    )
    _add_selection(read)
    read.set_defaults(run=run_read)

    export = _command(
        subcommands,
        "export",
        "write stored records to a file: CSV or JSON Lines",
        "  cpc export -c site/gateway.toml --format jsonl -o trip.jsonl\n"
        "  cpc export -c site/gateway.toml --format csv --from now-1h -o last-hour.csv",
    )
    _add_selection(export)
    export.add_argument("--format", choices=("csv", "jsonl"), default="jsonl", help="[jsonl]")
    export.add_argument(
        "-o", "--output", type=Path, help="file to write; it must not exist [standard output]"
    )
    export.set_defaults(run=run_export)


def _command(
    subcommands: "_SubParsersAction[ArgumentParser]", name: str, text: str, examples: str
) -> ArgumentParser:
    command = subcommands.add_parser(
        name, help=text, epilog=f"examples:\n{examples}", formatter_class=RawDescriptionHelpFormatter
    )
    command.add_argument("--json", action="store_true", help="print one JSON value a line")
    return command


def _add_selection(command: ArgumentParser) -> None:
    add_config_option(command)
    add_reader_options(command)
    command.add_argument("--from", dest="from_", default="start", help=f"{MOMENT_HELP} [start]")
    command.add_argument("--to", default="end", help="likewise, excluded [end, included]")
    add_dbc_option(command)
    _add_raw_option(command)


def add_dbc_option(command: ArgumentParser) -> None:
    """Adds `--dbc`: what the frames mean."""
    command.add_argument(
        "--dbc",
        type=Path,
        action="append",
        default=[],
        help="decode with this DBC file; may be repeated [those of the configuration]",
    )


def _add_raw_option(command: ArgumentParser) -> None:
    command.add_argument("--raw", action="store_true", help="do not decode, show frames as they were taken")


def add_reader_options(command: ArgumentParser) -> None:
    """Adds the options that open a stream: as its owner, or with a grant."""
    command.add_argument("--stream", help="which stream [the first]")
    command.add_argument("--grant", type=Path, help="read with this grant instead of the gateway's key")
    command.add_argument("--key", type=Path, help="the reader key that the grant was made for")
    command.add_argument("--store", type=Path, help="with a grant: the folder of the store")


def open_reader(args: Namespace, output: Output) -> Reader:
    """The stream that the options name."""
    dbc_paths = tuple(getattr(args, "dbc", ()))
    if args.grant is None:
        reader = open_as_owner(args.config, args.stream)
        return Reader(reader.archive, reader.owner, reader.slot_ms, dbc_paths or reader.dbc_paths)
    if args.key is None or args.store is None:
        raise UsageError(
            "--grant needs --key, the reader key it was made for, and --store, where the chunks are"
        )
    reader, grant = open_as_reader(args.grant, args.key, args.store, dbc_paths)
    output.note(
        f"grant of stream {grant.name} by {did_key(grant.owner)}: "
        f"{moment_text(grant.from_ns)} to {moment_text(grant.to_ns)}"
    )
    return reader


async def run_inspect(args: Namespace) -> int:
    """`cpc inspect`."""
    output = Output(args)
    decoder = DbcDecoder.load(args.dbc) if args.dbc else None
    source = open_source(f"replay:{args.trace}?speed=max", name="trace")
    ids: Counter[int] = Counter()
    decoded = gaps = 0
    first_ns, last_ns = 0, 0
    with output.progress(f"reading {args.trace.name}", "B") as progress:
        async for batch in source.batches():
            ids.update(frame.arbitration_id for frame in batch.values)
            gaps += len(batch.gaps)
            if decoder is not None:
                decoded += sum(decoder.decode(frame) is not None for frame in batch.values)
            if batch.taken_ns:
                first_ns = first_ns or batch.taken_ns[0]
                last_ns = batch.taken_ns[-1]
            progress(*source.progress())
    stats = source.stats
    result: dict[str, Any] = {
        "frames": ids.total(),
        "ids": len(ids),
        "duration_ms": (last_ns - first_ns) // 1_000_000,
        "damaged_lines": stats.damaged,
        "ignored_lines": stats.ignored,
        "notes": stats.notes,
    }
    if decoder is not None:
        result |= {"decoded": decoded, "tolerated": decoder.tolerated}
    output.value(result)
    output.line(f"{ids.total()} frames of {len(ids)} ids, {(last_ns - first_ns) / 1e9:.3f} s long")
    output.line(f"{stats.damaged} damaged lines, {stats.ignored} lines that are no frames")
    if decoder is not None:
        share = 100 * decoded / max(ids.total(), 1)
        output.line(f"{decoded} frames ({share:.1f} %) are explained by the DBC")
        for text in decoder.tolerated:
            output.line(f"  tolerated: {text}")
    for text in stats.notes:
        output.line(f"  {text}")
    return EXIT_OK if ids else EXIT_FAILED


def run_tail(args: Namespace) -> int:
    """`cpc tail`: reads what the gateway has made durable, beside it, from its spool."""
    output = Output(args)
    config = load(args.config)
    stream = stream_of(config, args.stream)
    dbc_paths = () if args.raw else config.dbc_paths(stream)
    decoder = DbcDecoder.load(dbc_paths) if dbc_paths else None
    ends_at = time.monotonic() + (args.seconds or float("inf"))
    tail = _opened_tail(output, config, stream, min(ends_at, time.monotonic() + TAIL_WAIT_MS / 1000))
    newest: dict[Any, Record] = {}
    shown_at = 0.0
    looked_at, was_running = float("-inf"), True
    try:
        while time.monotonic() < ends_at:
            if time.monotonic() - looked_at >= TAIL_LOOK_MS / 1000:
                looked_at, is_now_running = time.monotonic(), is_running(config)
                if was_running and not is_now_running:
                    output.note(
                        f"the gateway does not run: what stream {stream.name} takes in appears here once "
                        f"cpc run -c {args.config} has started it; cpc read -c {args.config} shows what it "
                        "took in before"
                    )
                was_running = is_now_running
            news = tail.poll()
            if news.is_restarted:
                output.note("(the gateway was started anew)")
            if news.missed_count:
                output.note(f"({news.missed_count} records were sealed before they were shown: cpc read)")
            for record in news.records:
                if args.all:
                    _show(output, record, decoder)
                else:
                    frame = record.value
                    newest[frame.arbitration_id if isinstance(frame, CanFrame) else None] = record
            if newest and time.monotonic() - shown_at >= TAIL_SHOW_MS / 1000:
                for record in sorted(newest.values(), key=lambda record: record.taken_ns):
                    _show(output, record, decoder)
                newest.clear()
                shown_at = time.monotonic()
            time.sleep(TAIL_POLL_MS / 1000)
    finally:
        tail.close()
    return EXIT_OK


def _opened_tail(output: Output, config: GatewayConfig, stream: StreamConfig, ends_at: float) -> Tail:
    """The stream's tail, as soon as the gateway has begun, which may have been started a moment ago."""
    key = load_gateway_key(config.key_path)
    is_told = False
    while True:
        try:
            return Tail(config, stream, key)
        except (NotRunYet, DatabaseError) as error:
            # Once there was none, what is not yet a database is one that is being made.
            if time.monotonic() >= ends_at or not (is_told or isinstance(error, NotRunYet)):
                raise
        if not is_told:
            output.note("waiting for the gateway to start")
            is_told = True
        time.sleep(TAIL_POLL_MS / 1000)


def run_read(args: Namespace) -> int:
    """`cpc read`."""
    output = Output(args)
    with _selected(args, output) as (records, decoder, report):
        for record in records:
            _show(output, record, decoder)
    return _finish(output, report)


def run_export(args: Namespace) -> int:
    """`cpc export`."""
    output = Output(args)
    with _destination(args.output) as file, _selected(args, output) as (records, decoder, report):
        count = 0
        writer = csv.writer(file)
        if args.format == "csv":
            writer.writerow(("record", "taken_ns", "time", "id", "flags", "data", "gap", "values"))
        for record in records:
            line = described(record, decoder)
            if args.format == "jsonl":
                file.write(json_text(line) + "\n")
            else:
                writer.writerow(_csv_row(line))
            count += 1
    if args.output is not None:
        output.value(
            {"file": str(args.output), "records": count}, f"{count} records written to {args.output}"
        )
    return _finish(output, report)


def time_range(
    reader: Reader,
    from_: str,
    to: str,
    output: Output,
    report: ReadReport | None = None,
    is_exact: bool = False,
) -> tuple[int, int]:
    """The time [from, to) that two moments name, "end" included.  Raises UsageError.

    report: gets the uploads that could not be looked at; only where a moment is relative to the others.
    is_exact: "start" and "end" are those of what is stored.  Else, alone, they may be the ends of all time,
    which saves a look at every upload and reads the same; a grant of them would be one of all time.
    """
    start_ns, end_ns = EVER_NS
    if (
        is_exact
        or (from_ != "start" and from_.startswith(RELATIVE))
        or (to != "end" and to.startswith(RELATIVE))
    ):
        with output.progress("looking for start and end", " uploads") as progress:
            start_ns, end_ns = reader.span_ns(progress, report)
        if not end_ns:
            raise UsageError(
                f"stream {reader.archive.name} has nothing stored, so start and end mean nothing"
            )
    from_ns, to_ns = parse_moment(from_, start_ns, end_ns), parse_moment(to, start_ns, end_ns + 1)
    if from_ns >= to_ns:
        raise UsageError(
            f"nothing lies between {moment_text(from_ns)} and {moment_text(to_ns)}: --from is not before --to"
        )
    return from_ns, to_ns


@contextmanager
def _selected(
    args: Namespace, output: Output
) -> Iterator[tuple[Iterator[Record], DbcDecoder | None, ReadReport]]:
    with open_reader(args, output) as reader:
        decoder = None if args.raw else reader.decoder()
        from_ns, to_ns = time_range(reader, args.from_, args.to, output)
        report = ReadReport()
        with output.progress("reading", " uploads") as progress:
            yield reader.archive.records(from_ns, to_ns, report, progress), decoder, report


@contextmanager
def _destination(path: Path | None) -> Iterator[IO[str]]:
    """Where to write; a file appears under its name when all of it is written, or not at all.

    Only its owner may read it: what was sealed is open in it.
    """
    if path is None:
        yield sys.stdout
        return
    refuse_existing(path)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        refuse_existing(path)
        part.rename(path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raises UsageError when there is a file that an output would replace."""
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already; it is not overwritten")


def _finish(output: Output, report: ReadReport) -> int:
    if report.not_granted_count:
        output.note(f"{report.not_granted_count} records of this time lie in segments that were not granted")
    for problem in report.problems if output.is_json else report.problems[:PROBLEMS_SHOWN_MAX]:
        output.problem("NotRead", f"not read: {problem}")
    if not output.is_json and len(report.problems) > PROBLEMS_SHOWN_MAX:
        output.note(f"not read: {len(report.problems) - PROBLEMS_SHOWN_MAX} more; --json names them all")
    return EXIT_NOT_PROVEN if report.problems else EXIT_OK


def described(record: Record, decoder: DbcDecoder | None) -> dict[str, Any]:
    """A record as JSON-ready values, decoded where a decoder knows its frame."""
    line = record.as_json()
    if decoder is not None and isinstance(record.value, CanFrame):
        values = decoder.decode(record.value)
        if values is not None:
            line["values"] = values
    return line


def _show(output: Output, record: Record, decoder: DbcDecoder | None) -> None:
    output.value(described(record, decoder))
    output.line(f"{moment_text(record.taken_ns)}  {record.name!s:<16} {value_text(record, decoder)}")


def value_text(record: Record, decoder: DbcDecoder | None) -> str:
    """A record's value for a person: the frame and what it means, the reading, or what is missing."""
    value = record.value
    if isinstance(value, Gap):
        lost = f"{value.count} records" if value.count else "an unknown number of records"
        return f"GAP  {lost} missing: {value.reason}"
    line = described(record, decoder)
    if isinstance(value, CanFrame):
        values = line.get("values", {})
        signals = (f"{name}={signal_text(item)}" for name, item in values.items())
        return f"{value!s:<22} {'  '.join(signals)}".rstrip()
    return json.dumps(line["value"], ensure_ascii=False)


def signal_text(value: Any) -> str:
    """A decoded value for a person: without the noise of binary fractions."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _csv_row(line: dict[str, Any]) -> list[Any]:
    gap = line.get("gap")
    values = line.get("values", line.get("value"))
    return [
        line["record"],
        line["taken_ns"],
        moment_text(line["taken_ns"]),
        line.get("id", ""),
        line.get("flags", ""),
        line.get("data", ""),
        "" if gap is None else json_text(gap),
        "" if values is None else json_text(values),
    ]
