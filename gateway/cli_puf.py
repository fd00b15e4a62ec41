"""`cpc puf`: look at readouts of a chip and decide whether it can carry a key.

Runs on CPython.  A readout is what power-up leaves in a chip's memory; a file has several, one after another.
"""

import re
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway import cli_puf_plot
from gateway.cli_output import EXIT_NOT_PROVEN, EXIT_OK, Output, UsageError, whole_number
from gateway.cli_puf_show import INDENT, Blocks, text_of
from puf.assess import Assessment, assess, response_of
from puf.entropy import BLOCKS
from puf.errors import ReadoutError

_SIZE_IN_NAME = re.compile(r"_(\d{1,6})x(\d{1,8})(?:\.[^.]*)?")
EXAMPLES = """\
examples:
  cpc puf assess chip_28x4096.bin                    28 readouts of 4,096 bytes, as the name says
  cpc puf assess chip.bin --readout-bytes 2040       a name that says nothing
  cpc puf assess a_10x2040.bin b_10x2040.bin         two chips, and how far apart they are
  cpc puf assess chip.bin --readout-bytes 2040 --debias --key-bits 256
  cpc puf assess *.bin --plot pictures --json

Take readouts after power was off for seconds, not after a reset; ten make a good estimate. Several files
are several chips. Refused is who has not 45 to 55 % ones (--debias judges what debiasing leaves), too few
cells, more than 15 % errors, or less entropy than the key once the helper data is public.
Exit status 0: every chip passes; 3: one is refused."""


def add(subcommands: "_SubParsersAction[ArgumentParser]") -> None:
    """Adds `cpc puf`."""
    puf = subcommands.add_parser("puf", help="judge chips by their power-up memory")
    kinds = puf.add_subparsers(dest="kind", metavar="WHAT", required=True)
    parser = kinds.add_parser(
        "assess",
        help="bias, noise, entropy of a chip, and whether a key may be built on it",
        formatter_class=RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="readouts of one chip")
    parser.add_argument(
        "--readout-bytes",
        type=whole_number,
        metavar="N",
        help="bytes of one readout; else from names such as chip_28x4096.bin",
    )
    parser.add_argument(
        "--key-bits", type=int, choices=sorted(BLOCKS), default=128, help="how strong a key [128]"
    )
    parser.add_argument("--debias", action="store_true", help="judge what debiasing leaves")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="DIR|FILE",
        help="draw pictures: FILE.png of one chip, or one each in DIR",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each chip")
    parser.set_defaults(run=run_assess)


@dataclass(frozen=True, slots=True)
class Chip:
    """A file of readouts."""

    path: Path
    readouts: list[bytes]

    @property
    def readout_size(self) -> int:
        """Bytes of one readout."""
        return len(self.readouts[0])


def run_assess(args: Namespace) -> int:
    """`cpc puf assess`."""
    output = Output(args)
    pictures = _pictures(args.plot, args.files) if args.plot else []
    chips = [read_chip(path, args.readout_bytes) for path in args.files]
    responses = [response_of(chip.readouts) if len(chips) > 1 else b"" for chip in chips]
    all_pass = True
    with output.progress("measuring", "chip") as show:
        for index, chip in enumerate(chips):
            show(index, len(chips))
            others = [
                response
                for other, response in enumerate(responses)
                if other != index and len(response) == chip.readout_size
            ]
            try:
                found = assess(chip.readouts, others, args.key_bits, args.debias)
            except ReadoutError as error:
                raise ReadoutError(f"{chip.path}: {error}") from error
            all_pass = all_pass and found.fit.is_pass
            output.value(_json(chip, found), text_of(chip.path.name, found, Blocks.fitting()))
            if pictures:
                cli_puf_plot.draw(pictures[index], chip.path.name, found)
                output.line(f"  {'picture':<{INDENT - 2}}{pictures[index]}")
            output.line()
    sizes = {chip.readout_size for chip in chips}
    if len(sizes) > 1:
        output.note(f"chips are compared with those of their own size only; there are {len(sizes)} sizes")
    return EXIT_OK if all_pass else EXIT_NOT_PROVEN


def read_chip(path: Path, readout_size: int | None) -> Chip:
    """The readouts in a file.  Raises UsageError, ReadoutError, OSError."""
    data = path.read_bytes()
    if readout_size is None:
        match = _SIZE_IN_NAME.search(path.name)
        if match is None:
            raise UsageError(
                f"{path} does not say in its name how long a readout is; say --readout-bytes N "
                f"(the file has {len(data):,} bytes)"
            )
        count, readout_size = int(match[1]), int(match[2])
        if data and count * readout_size != len(data):
            raise ReadoutError(
                f"{path} has {len(data):,} bytes, but its name says {count} readouts of {readout_size:,} "
                f"bytes, which are {count * readout_size:,}; it is cut off, or say --readout-bytes N"
            )
    if readout_size < 1:
        raise UsageError("a readout has at least one byte; say --readout-bytes 4096, for instance")
    if not data:
        raise ReadoutError(f"{path} is empty; it should have readouts, one after another")
    whole, rest = divmod(len(data), readout_size)
    if rest:
        raise ReadoutError(
            f"{path} has {len(data):,} bytes: {whole} readouts of {readout_size:,}, and {rest:,} bytes "
            f"from offset {whole * readout_size:,} on that are none; it is cut off, or the size is wrong"
        )
    readouts = [data[at : at + readout_size] for at in range(0, len(data), readout_size)]
    if len(readouts) < 2:
        raise ReadoutError(
            f"{path} has one readout of {readout_size:,} bytes, and noise shows only in comparison; "
            "take two or more of this chip, ten for a good estimate"
        )
    return Chip(path, readouts)


def _pictures(where: Path, files: list[Path]) -> list[Path]:
    """Where each chip's picture goes.  Raises UsageError, also without matplotlib."""
    cli_puf_plot.need_matplotlib()
    if where.suffix.lower() == ".png" and not where.is_dir():
        if len(files) > 1:
            raise UsageError(f"{len(files)} chips make as many pictures; name a folder: --plot pictures")
        return [where]
    if where.suffix and not where.is_dir():
        raise UsageError(f"pictures are PNG, and {where} is neither a .png file nor a folder")
    where.mkdir(parents=True, exist_ok=True)
    names: list[Path] = []
    for path in files:
        name, number = where / f"{path.stem}.png", 2
        while name in names:
            name, number = where / f"{path.stem}-{number}.png", number + 1
        names.append(name)
    return names


def _json(chip: Chip, found: Assessment) -> dict[str, Any]:
    value = asdict(found)
    del value["measured"]
    return {"file": str(chip.path), "verdict": found.verdict, "is_pass": found.fit.is_pass} | value
