"""`cpc verify`: the whole chain of evidence of a record, of a file of records, or of a proof somebody sent.

Runs on CPython.
"""

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from chain_node.wire import Genesis
from gateway.anchor import load_genesis
from gateway.block import Block
from gateway.cli_gateway import add_config_option
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, moment_text, short, wrapped
from gateway.cli_read import add_dbc_option, add_reader_options, described, open_reader, value_text
from gateway.config import load
from gateway.crypto.errors import CryptoError
from gateway.crypto.key_file import load_gateway_key
from gateway.disk import Disk, disk_error
from gateway.errors import EvidenceError, GatewayError, RecordNameError, StoreError
from gateway.proof import PROOF_SIZE_MAX, Link, Proof, collect
from gateway.record import Record, RecordName
from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.source import MissingExtra
from gateway.site import Reader
from obd.can_frame import CanFrame
from puf.did import ED25519, did_key, parse_did_key

LINE_SIZE_MAX = 1 << 20
"""Bytes of a record in an export; a longer line is no record."""
BLOCKS_KEPT = 4
"""Proven blocks that are kept while a file is verified: an export has its records in their order."""


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc verify`."""
    verify = subcommands.add_parser(
        "verify",
        help="check the whole chain of evidence of a record, or of a file of records",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  cpc verify -c site/gateway.toml can0/1/42\n"
        "  cpc verify -c site/gateway.toml trip.jsonl          every line of an export\n"
        "  cpc verify can0-1-42.proof --genesis genesis.cbor --owner did:key:z6Mk..\n\n"
        "Exit code 0: every link holds; 3: one does not, and it is named.",
    )
    add_config_option(verify)
    add_reader_options(verify)
    verify.add_argument("what", help="a record's name, a .jsonl file that cpc export wrote, or a .proof file")
    add_genesis_option(verify)
    verify.add_argument(
        "--owner",
        help="of a proof: the DID of the gateway it must be by [the configuration's, if there is one]",
    )
    add_dbc_option(verify)
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=run_verify)


def add_genesis_option(command: ArgumentParser) -> None:
    """Adds `--genesis`: which chain is trusted."""
    command.add_argument("--genesis", type=Path, help="the chain to trust [the configuration's]")


def run_verify(args: Namespace) -> int:
    """`cpc verify`."""
    output = Output(args)
    path = Path(args.what)
    try:
        name = RecordName.parse(args.what)
    except RecordNameError as error:
        if not path.exists():
            raise UsageError(f"{error}; and there is no such file") from error
        if not _is_proof(path):
            return _verify_export(args, output, path)
        proof = Proof.decode(Disk().read_file(path, PROOF_SIZE_MAX))
        return EXIT_OK if _show_stranger(args, output, proof) else EXIT_NOT_PROVEN
    genesis = trusted_genesis(args)
    with open_stream(args, output, name) as reader:
        return EXIT_OK if show_record(output, reader, name, genesis) else EXIT_NOT_PROVEN


def _show_stranger(args: Namespace, output: Output, proof: Proof) -> bool:
    """Prints every link of a proof file, the first one being whose proof it is; whether all hold."""
    owner = _expected_owner(args)
    genesis = trusted_genesis(args)
    if owner is not None and owner != proof.owner:
        link = Link("gateway", f"it is by {did_key(proof.owner)}, expected was {did_key(owner)}", False)
        _show_link(output, link)
        return _show_verdict(output, proof.record, [link], None, None)
    if owner is None:
        output.note(
            f"recorded by {did_key(proof.owner)}: see that this is the gateway you mean, or say --owner"
        )
    decoder = DbcDecoder.load(args.dbc) if args.dbc else None
    return show_links(output, proof, genesis, decoder)


def _expected_owner(args: Namespace) -> bytes | None:
    """Public key of the gateway that a proof must be by: --owner's, else the configuration's, if any."""
    if args.owner is not None:
        codec, public = parse_did_key(args.owner)
        if codec != ED25519:
            raise UsageError(f"--owner {args.owner} is a reader's key; a gateway's reads did:key:z6Mk..")
        return public
    if not args.config.exists():
        return None
    return load_gateway_key(load(args.config).key_path).identity.public


def show_record(output: Output, reader: Reader, name: RecordName, genesis: Genesis) -> bool:
    """Prints every link of a record's proof, as far as the archive has it; whether all hold."""
    try:
        proof = collect(reader.archive, reader.owner, name)
    except (EvidenceError, StoreError) as error:
        link = Link(
            *((error.link, error.why) if isinstance(error, EvidenceError) else ("chunk", str(error))), False
        )
        _show_link(output, link)
        return _show_verdict(output, name, [link], None, None)
    return show_links(output, proof, genesis, _decoder_of(reader))


def _decoder_of(reader: Reader) -> DbcDecoder | None:
    """What the record means, if that can be told here: a proof does not depend on it."""
    try:
        return reader.decoder()
    except MissingExtra:
        return None


def show_links(output: Output, proof: Proof, genesis: Genesis, decoder: DbcDecoder | None) -> bool:
    """Prints every link of a proof; whether all hold."""
    found: list[Record] = []
    links: list[Link] = []
    with output.progress("looking for the damage", "B") as progress:
        for link in proof.links(genesis, found.append, progress):
            links.append(link)
            _show_link(output, link)
    return _show_verdict(output, proof.record, links, found[0] if found else None, decoder)


def _show_link(output: Output, link: Link) -> None:
    head = f"{'ok' if link.is_ok else 'FAIL':<5} {link.name:<27}  "
    output.line(wrapped(head + short(link.detail), len(head)))


def _show_verdict(
    output: Output, name: RecordName, links: list[Link], record: Record | None, decoder: DbcDecoder | None
) -> bool:
    is_ok = all(link.is_ok for link in links)
    value: dict[str, Any] = {
        "record": str(name),
        "is_proven": is_ok,
        "links": [{"name": link.name, "is_ok": link.is_ok, "detail": link.detail} for link in links],
    }
    if record is not None:
        value["value"] = described(record, decoder)
    output.value(value)
    if is_ok and record is not None:
        output.line(f"proven: {name} was taken {moment_text(record.taken_ns)}: {value_text(record, decoder)}")
    else:
        output.line(f"NOT proven: {name}; the first link that fails: {links[-1].name}")
    return is_ok


@dataclass(frozen=True, slots=True)
class _Checked:
    """A block whose proof was looked at."""

    stream: str
    boot: int
    first_seq: int
    end_seq: int
    outcome: Block | str
    """The proven block, or which link fails, and why."""


class _Proven:
    """Records of proven blocks: what is proven of a block is proven of each of its records."""

    def __init__(self, args: Namespace, output: Output, genesis: Genesis) -> None:
        self._args = args
        self._output = output
        self._genesis = genesis
        self._readers: dict[str, tuple[Reader, DbcDecoder | None]] = {}
        self._checked: deque[_Checked] = deque(maxlen=BLOCKS_KEPT)

    def record(self, name: RecordName) -> Record | str:
        """The record as it was recorded, or why that is not proven.  Raises GatewayError, CryptoError."""
        for checked in self._checked:
            is_same = (checked.stream, checked.boot) == (name.stream, name.boot)
            if is_same and checked.first_seq <= name.seq < checked.end_seq:
                break
        else:
            checked = self._check(name)
            self._checked.append(checked)
        block = checked.outcome
        if isinstance(block, str):
            return block
        place = name.seq - checked.first_seq
        part = block.samples.part(place, place + 1)
        return next(Block(block.kind, block.stream, block.index, block.previous, part).records())

    def decoder(self, stream: str) -> DbcDecoder | None:
        """What the frames of a stream mean, if that is known."""
        return self._opened(RecordName(stream, 0, 0))[1]

    def close(self) -> None:
        """Closes what was opened."""
        for reader, _ in self._readers.values():
            reader.archive.store.close()

    def _opened(self, name: RecordName) -> tuple[Reader, DbcDecoder | None]:
        if name.stream not in self._readers:
            reader = open_stream(self._args, self._output, name)
            self._readers[name.stream] = reader, reader.decoder()
        return self._readers[name.stream]

    def _check(self, name: RecordName) -> _Checked:
        reader, _ = self._opened(name)
        chunk = reader.archive.locate(name).chunk
        outcome: Block | str
        try:
            proof = collect(reader.archive, reader.owner, name)
            *_, last = proof.links(self._genesis, lambda record: None)
            outcome = proof.block() if last.is_ok else f"{last.name}: {last.detail}"
        except (EvidenceError, StoreError, CryptoError) as error:
            # Kept as well: a damaged block has thousands of records, and is looked at once.
            outcome = str(error)
        return _Checked(name.stream, chunk.boot, chunk.first_seq, chunk.first_seq + chunk.count, outcome)


def _verify_export(args: Namespace, output: Output, path: Path) -> int:
    proven = _Proven(args, output, trusted_genesis(args))
    count, failures, undecoded = 0, 0, 0
    runs = _Runs()
    try:
        with path.open("rb") as file, output.progress("verifying", "B") as progress:
            size = path.stat().st_size
            for line in _lines(file):
                count += 1
                progress(file.tell(), size)
                if count == 1 and not isinstance(line, dict):
                    raise UsageError(
                        f"{path} is neither a proof nor records one a line, as cpc export --format jsonl "
                        "writes them"
                    )
                runs.add(line)
                why, is_decoded = _failure(line, proven)
                undecoded += not is_decoded
                if why is not None:
                    failures += 1
                    record = line.get("record") if isinstance(line, dict) else None
                    output.value({"line": count, "record": record, "failure": why})
                    output.line(f"FAIL  {path.name}:{count}: {record}: {short(why)}")
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        proven.close()
    output.value(
        {
            "records": count,
            "failures": failures,
            "values_unchecked": undecoded,
            "left_out": runs.left_out_count,
        },
        f"{count - failures} of {count} records proven",
    )
    if runs.left_out_count:
        output.note(f"{runs.left_out_count} records between those in the file are not in it")
    if undecoded:
        output.note(f"the decoded values of {undecoded} records were not checked: name a --dbc file")
    return EXIT_OK if count and not failures else EXIT_NOT_PROVEN


class _Runs:
    """Counts the records that are left out between those of a file: proof of each is no proof of all."""

    def __init__(self) -> None:
        self.left_out_count = 0
        self._ends: dict[tuple[str, int], int] = {}

    def add(self, line: Any) -> None:
        """One line of the file."""
        try:
            name = RecordName.parse(str(line.get("record"))) if isinstance(line, dict) else None
        except RecordNameError:
            return
        if name is not None:
            run = (name.stream, name.boot)
            self.left_out_count += max(name.seq - self._ends.get(run, name.seq), 0)
            self._ends[run] = max(name.seq + 1, self._ends.get(run, 0))


def _failure(line: Any, proven: _Proven) -> tuple[str | None, bool]:
    """(what is not proven of a line, if anything; whether its decoded values, if any, were checked)."""
    if not isinstance(line, dict):
        return "not a record", True
    try:
        name = RecordName.parse(str(line.get("record")))
        record = proven.record(name)
        if isinstance(record, str):
            return record, True
        want = record.as_json()
        is_decoded = True
        if "values" in line:
            decoder = proven.decoder(name.stream)
            is_decoded = decoder is not None
            if decoder is None:
                want["values"] = line["values"]
            elif isinstance(record.value, CanFrame):
                want["values"] = decoder.decode(record.value)
    except (GatewayError, CryptoError) as error:
        return str(error), True
    for field in {**want, **line}:
        # As text, since to Python 1, 1.0 and true are the same.
        if field not in line or field not in want or _text(line[field]) != _text(want[field]):
            return (
                f"{field} is {_shown(line, field)} in the file, {_shown(want, field)} is what was recorded",
                is_decoded,
            )
    return None, is_decoded


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(line: dict[str, Any], field: str) -> str:
    return _text(line[field]) if field in line else "missing"


def _lines(file: IO[bytes]) -> Iterator[Any]:
    """The JSON value of each line; None for what is none."""
    while raw := file.readline(LINE_SIZE_MAX + 1):
        try:
            yield json.loads(raw) if len(raw) <= LINE_SIZE_MAX else None
        except (ValueError, RecursionError):
            yield None
        while len(raw) > LINE_SIZE_MAX and not raw.endswith(b"\n"):
            raw = file.readline(LINE_SIZE_MAX + 1)


def _is_proof(path: Path) -> bool:
    """Whether a file is to be taken for a proof, which is a CBOR array; records are text."""
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise disk_error(path, error) from error
    return b"\x80" <= first < b"\xa0"


def open_stream(args: Namespace, output: Output, name: RecordName) -> Reader:
    """The stream that `name` is of.  A grant is of one stream only, and says of which."""
    if args.grant is None:
        args.stream = name.stream
    reader = open_reader(args, output)
    if name.stream != reader.archive.name:
        reader.archive.store.close()
        raise EvidenceError("record", f"{name} is of another stream than {reader.archive.name}")
    return reader


def trusted_genesis(args: Namespace) -> Genesis:
    """The chain that the options name."""
    if args.genesis is not None:
        return load_genesis(args.genesis)
    if getattr(args, "grant", None) is not None:
        raise UsageError("with --grant, name the chain to trust: --genesis genesis.cbor")
    if not args.config.exists():
        raise UsageError(f"name the chain to trust: --genesis genesis.cbor (there is no {args.config})")
    return load_genesis(load(args.config).genesis_path)
