"""`cpc key`, `cpc grant`, `cpc prove`, `cpc verify`: share a range of time, and prove records.

Runs on CPython.
"""

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chain_node.wire import Genesis
from gateway.anchor import load_genesis
from gateway.cli_gateway import add_config_option
from gateway.cli_output import (
    EXIT_NOT_PROVEN,
    EXIT_OK,
    MOMENT_HELP,
    Output,
    UsageError,
    moment_text,
    parse_moment,
)
from gateway.cli_read import add_reader_options, open_reader
from gateway.config import load
from gateway.crypto.errors import CryptoError
from gateway.crypto.grant import make_grant
from gateway.crypto.key_file import (
    create_reader_key,
    load_gateway_key,
    parse_reader_public,
    reader_public_text,
)
from gateway.crypto.slot import slot_end_ns, slot_start_ns, slots_within
from gateway.disk import Disk
from gateway.errors import EvidenceError, GatewayError
from gateway.proof import PROOF_SIZE_MAX, Link, Proof, collect
from gateway.record import Record, RecordName
from gateway.site import Reader, open_as_owner, stream_keys

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
    prove.add_argument("--json", action="store_true", help="print JSON")
    prove.set_defaults(run=run_prove)

    verify = subcommands.add_parser(
        "verify",
        help="check the whole chain of evidence of a record, or of a file of records",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  cpc verify -c site/gateway.toml can0/1/42\n"
        "  cpc verify -c site/gateway.toml trip.jsonl          every line of an export\n"
        "  cpc verify can0-1-42.proof --genesis genesis.cbor   a proof somebody sent\n\n"
        "Exit code 0: every link holds; 3: one does not, and it is named.",
    )
    add_config_option(verify)
    add_reader_options(verify)
    verify.add_argument("what", help="a record's name, a .jsonl file that cpc export wrote, or a .proof file")
    verify.add_argument("--genesis", type=Path, help="the chain to trust [the configuration's]")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=run_verify)


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
    _refuse_existing(args.output)
    config = load(args.config)
    stream = config.streams[0] if args.stream is None else config.stream(args.stream)
    key = load_gateway_key(config.key_path)
    keys = stream_keys(key, stream)
    recipient = parse_reader_public(_reader_text(args.reader))
    start_ns, end_ns = 0, 0
    if "start" in args.from_ + args.to or "end" in args.from_ + args.to:
        reader = open_as_owner(args.config, stream.name)
        start_ns, end_ns = reader.span_ns()
        reader.archive.store.close()
        if not end_ns:
            raise UsageError(f"stream {stream.name} has nothing stored yet, so start and end mean nothing")
    from_ns = parse_moment(args.from_, start_ns, end_ns)
    to_ns = parse_moment(args.to, start_ns, end_ns)
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
    Disk().write_file_atomic(args.output, data)
    granted = slot_start_ns(first, stream.slot_ms), slot_end_ns(last, stream.slot_ms)
    output.value(
        {
            "stream": stream.name,
            "from_ns": granted[0],
            "to_ns": granted[1],
            "segments": last - first + 1,
            "size_bytes": len(data),
            "file": str(args.output),
        },
        f"asked    {moment_text(from_ns)} to {moment_text(to_ns)}\n"
        f"granted  {moment_text(granted[0])} to {moment_text(granted[1])}: "
        f"{last - first + 1} whole segment(s) of {stream.slot_ms} ms, rounded inwards\n"
        f"wrote    {args.output} ({len(data)} bytes); the reader opens it with: "
        f"cpc read --grant {args.output} --key THEIR.key --store {config.store_path}",
    )
    return EXIT_OK


def run_prove(args: Namespace) -> int:
    """`cpc prove`."""
    output = Output(args)
    _refuse_existing(args.output)
    name = RecordName.parse(args.record)
    reader = _open_stream(args, output, name)
    proof = collect(reader.archive, reader.owner, name)
    data = proof.encode()
    Disk().write_file_atomic(args.output, data)
    output.value(
        {"record": str(proof.record), "file": str(args.output), "size_bytes": len(data)},
        f"wrote {args.output} ({len(data)} bytes); anybody checks it with: "
        f"cpc verify {args.output} --genesis genesis.cbor",
    )
    return EXIT_OK


def run_verify(args: Namespace) -> int:
    """`cpc verify`."""
    output = Output(args)
    path = Path(args.what)
    if path.suffix == ".proof":
        proof = Proof.decode(Disk().read_file(path, PROOF_SIZE_MAX))
        return EXIT_OK if show_links(output, proof, _genesis(args)) else EXIT_NOT_PROVEN
    if path.suffix in (".jsonl", ".json"):
        return _verify_file(args, output, path)
    name = RecordName.parse(args.what)
    reader = _open_stream(args, output, name)
    proof = collect(reader.archive, reader.owner, name)
    return EXIT_OK if show_links(output, proof, _genesis(args)) else EXIT_NOT_PROVEN


def show_links(output: Output, proof: Proof, genesis: Genesis) -> bool:
    """Prints every link of a proof; whether all hold."""
    found: list[Record] = []
    links: list[Link] = []
    with output.progress("looking for the damage", "B") as progress:
        for link in proof.links(genesis, found.append, progress):
            links.append(link)
            output.line(f"{'ok  ' if link.is_ok else 'FAIL'}  {link.name:<28} {link.detail}")
    is_ok = all(link.is_ok for link in links)
    value = {
        "record": str(proof.record),
        "is_proven": is_ok,
        "links": [{"name": link.name, "is_ok": link.is_ok, "detail": link.detail} for link in links],
    }
    if found:
        value["value"] = found[0].as_json()
    output.value(value)
    if is_ok:
        output.line(f"proven: {found[0].name} was taken {moment_text(found[0].taken_ns)}: {found[0].value!s}")
    else:
        output.line(f"NOT proven: {proof.record}; the first link that fails: {links[-1].name}")
    return is_ok


def _verify_file(args: Namespace, output: Output, path: Path) -> int:
    genesis = _genesis(args)
    proven: dict[RecordName, Record] = {}
    readers: dict[str, Reader] = {}

    def opened(name: RecordName) -> Reader:
        if name.stream not in readers:
            readers[name.stream] = _open_stream(args, output, name)
        return readers[name.stream]

    count, failures = 0, 0
    size = path.stat().st_size if path.exists() else 0
    with output.progress("verifying", "B") as progress:
        for number, done, line in _lines(path):
            progress(done, size)
            why = _failure(line, opened, genesis, proven)
            count += 1
            if why is not None:
                failures += 1
                output.value({"line": number, "record": line.get("record"), "failure": why})
                output.line(f"FAIL  {path.name}:{number}: {line.get('record')}: {why}")
    output.value(
        {"records": count, "failures": failures},
        f"{count - failures} of {count} records proven",
    )
    return EXIT_OK if count and not failures else EXIT_NOT_PROVEN


def _failure(
    line: dict[str, Any],
    opened: Callable[[RecordName], Reader],
    genesis: Genesis,
    proven: dict[RecordName, Record],
) -> str | None:
    try:
        name = RecordName.parse(str(line.get("record")))
        if name not in proven:
            reader = opened(name)
            proof = collect(reader.archive, reader.owner, name)
            links = list(proof.links(genesis, lambda record: None))
            if not links[-1].is_ok:
                return f"{links[-1].name}: {links[-1].detail}"
            # What is proven of a block is proven of each of its records.
            proven.update((record.name, record) for record in proof.block().records())
    except (GatewayError, CryptoError) as error:
        return str(error)
    want = proven[name].as_json()
    differing = [field for field in want if line.get(field) != want[field]]
    differing += [field for field in ("id", "data", "gap", "value") if field in line and field not in want]
    if differing:
        field = differing[0]
        return f"{field} is {line.get(field)!r} in the file, {want.get(field)!r} is what was recorded"
    return None


def _lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    done = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                done += len(raw)
                try:
                    line = json.loads(raw)
                except ValueError as error:
                    raise UsageError(
                        f"{path}:{number}: not JSON ({error}); cpc export writes such files"
                    ) from error
                if not isinstance(line, dict):
                    raise UsageError(f"{path}:{number}: not a record; cpc export writes such files")
                yield number, done, line
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _open_stream(args: Namespace, output: Output, name: RecordName) -> Reader:
    """The stream that `name` is of.  A grant is of one stream only, and says of which."""
    if args.grant is None:
        args.stream = name.stream
    reader = open_reader(args, output)
    if name.stream != reader.archive.name:
        raise EvidenceError("record", f"{name} is of another stream than {reader.archive.name}")
    return reader


def _genesis(args: Namespace) -> Genesis:
    return load_genesis(args.genesis if args.genesis is not None else load(args.config).genesis_path)


def _reader_text(text: str) -> str:
    return (
        text
        if text.startswith("did:")
        else Disk().read_file(text, PUBLIC_TEXT_SIZE_MAX).decode(errors="replace")
    )


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} exists already; it is not overwritten")
