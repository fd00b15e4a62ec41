"""`cpc key`, `cpc grant`, `cpc prove`: share a range of time, or a record with its proof.

Runs on CPython.
"""

import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from pathlib import Path

from gateway.archive import ReadReport
from gateway.cli_gateway import add_config_option
from gateway.cli_output import (
    EXIT_OK,
    MOMENT_HELP,
    Output,
    UsageError,
    moment_text,
    parse_moment,
)
from gateway.cli_read import RELATIVE, add_reader_options, refuse_existing, time_range
from gateway.cli_verify import add_genesis_option, open_stream, trusted_genesis
from gateway.config import load
from gateway.crypto.grant import make_grant
from gateway.crypto.key_file import (
    create_reader_key,
    load_gateway_key,
    parse_reader_public,
    reader_public_text,
)
from gateway.crypto.slot import slot_end_ns, slot_start_ns, slots_within
from gateway.disk import Disk
from gateway.errors import EvidenceError
from gateway.proof import collect
from gateway.record import RecordName
from gateway.site import open_as_owner, stream_keys, stream_of

PUBLIC_TEXT_SIZE_MAX = 4_096


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds the commands of this file."""
    key = subcommands.add_parser(
        "key",
        help="make a reader key, which owners can grant to",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="example:\n  cpc key bob.key        makes bob.key (secret) and bob.key.pub (send this one)",
    )
    key.add_argument("file", type=Path, help="file to make; it must not exist")
    key.add_argument("--json", action="store_true", help="print JSON")
    key.set_defaults(run=run_key)

    grant = subcommands.add_parser(
        "grant",
        help="let a reader read a range of time of a stream",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  cpc grant --stream can0 --from start --to start+5s --reader bob.key.pub -o for-bob.grant\n"
        "  cpc grant --stream can0 --from 2026-05-01T12:00:00Z --to 2026-05-01T13:00:00Z "
        "--reader did:key:z6LS.. -o for-bob.grant\n\n"
        "A range is granted in whole segments, rounded inwards; the command says what that comes to.  The\n"
        "range may lie in the future.  A grant cannot be taken back: its keys are the reader's from then on.",
    )
    add_config_option(grant)
    grant.add_argument("--stream", help="which stream [the first]")
    grant.add_argument("--from", dest="from_", required=True, help=MOMENT_HELP)
    grant.add_argument("--to", required=True, help="likewise, excluded")
    grant.add_argument(
        "--reader", required=True, help="the reader's public key: a .pub file or did:key:z6LS.."
    )
    grant.add_argument("--note", default="", help="a remark that everybody who sees the grant can read")
    grant.add_argument("-o", "--output", type=Path, required=True, help="file to write; it must not exist")
    grant.add_argument("--json", action="store_true", help="print JSON")
    grant.set_defaults(run=run_grant)

    prove = subcommands.add_parser(
        "prove",
        help="write the proof of a record to a file that anybody can verify",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="example:\n  cpc prove -c site/gateway.toml can0/1/42 -o can0-1-42.proof\n\n"
        "The file opens the whole segment that the record lies in (a few seconds of the stream).",
    )
    add_config_option(prove)
    add_reader_options(prove)
    prove.add_argument("record", help="stream/boot/seq, such as can0/1/42")
    prove.add_argument("-o", "--output", type=Path, required=True, help="file to write; it must not exist")
    add_genesis_option(prove)
    prove.add_argument("--json", action="store_true", help="print JSON")
    prove.set_defaults(run=run_prove)


def run_key(args: Namespace) -> int:
    """`cpc key`."""
    key = create_reader_key(args.file)
    text = reader_public_text(key.public).strip()
    Output(args).value(
        {"key": str(args.file), "public": text},
        f"made {args.file} (keep it secret) and {args.file}.pub (send it to who grants)\n{text}",
    )
    return EXIT_OK


def run_grant(args: Namespace) -> int:
    """`cpc grant`."""
    output = Output(args)
    refuse_existing(args.output)
    config = load(args.config)
    stream = stream_of(config, args.stream)
    key = load_gateway_key(config.key_path)
    keys = stream_keys(key, stream)
    recipient = parse_reader_public(_reader_text(args.reader))
    report = ReadReport()
    if args.from_.startswith(RELATIVE) or args.to.startswith(RELATIVE):
        with open_as_owner(args.config, stream.name) as reader:
            from_ns, to_ns = time_range(reader, args.from_, args.to, output, report, is_exact=True)
    else:
        from_ns, to_ns = parse_moment(args.from_, 0, 0), parse_moment(args.to, 0, 0)
    for problem in report.problems:
        output.note(f"not looked at: {problem}")
    slots = slots_within(from_ns, to_ns, stream.slot_ms) if from_ns < to_ns else None
    if slots is None:
        raise UsageError(
            f"no whole segment of {stream.slot_ms} ms lies between {moment_text(from_ns)} and "
            f"{moment_text(to_ns)}; ask for at least {2 * stream.slot_ms} ms"
        )
    first, last = slots
    data = make_grant(
        key.identity,
        keys.tree,
        keys.stream_id,
        stream.name,
        stream.slot_ms,
        first,
        last,
        recipient,
        args.note,
    )
    # Open to all: what is secret in it is sealed for its reader.
    Disk().write_file_atomic(args.output, data, mode=0o644)
    granted = slot_start_ns(first, stream.slot_ms), slot_end_ns(last, stream.slot_ms)
    is_future = granted[1] > time.time_ns()
    output.value(
        {
            "stream": stream.name,
            "from_ns": granted[0],
            "to_ns": granted[1],
            "segments": last - first + 1,
            "is_future": is_future,
            "size_bytes": len(data),
            "file": str(args.output),
        },
        f"asked    {moment_text(from_ns)} to {moment_text(to_ns)}\n"
        f"granted  {moment_text(granted[0])} to {moment_text(granted[1])}: "
        f"{last - first + 1} whole segment(s) of {stream.slot_ms} ms, rounded inwards\n"
        + (
            f"         the future too, until {moment_text(granted[1])}\n"
            if granted[1] > time.time_ns()
            else ""
        )
        + f"wrote    {args.output} ({len(data)} bytes); the reader opens it with:\n"
        f"         cpc read --grant {args.output} --key THEIR.key --store {config.store_path}",
    )
    return EXIT_OK


def run_prove(args: Namespace) -> int:
    """`cpc prove`."""
    output = Output(args)
    refuse_existing(args.output)
    name = RecordName.parse(args.record)
    with open_stream(args, output, name) as reader:
        proof = collect(reader.archive, reader.owner, name)
    if args.grant is None or args.genesis is not None:
        # A proof that fails elsewhere would be no use; a reader may not have the genesis.
        for link in proof.links(trusted_genesis(args), lambda record: None):
            if not link.is_ok:
                raise EvidenceError(link.name, link.detail)
    data = proof.encode()
    # For its owner only: it holds the key of the record's segment.
    Disk().write_file_atomic(args.output, data, mode=0o600)
    output.value(
        {"record": str(proof.record), "file": str(args.output), "size_bytes": len(data)},
        f"wrote {args.output} ({len(data)} bytes); anybody checks it with:\n"
        f"  cpc verify {args.output} --genesis genesis.cbor\n"
        "It opens the whole segment that the record lies in: give it to whom you would show that.",
    )
    return EXIT_OK


def _reader_text(text: str) -> str:
    return (
        text
        if text.startswith("did:")
        else Disk().read_file(text, PUBLIC_TEXT_SIZE_MAX).decode(errors="replace")
    )
