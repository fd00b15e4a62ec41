"""`cpc obd`: look into a car: what it offers, live values, trouble codes, who it is.

Runs on CPython.  Talks to the car directly, so no gateway may hold the same adapter meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.cli_obd_show import (
    about,
    plain,
    show_codes,
    show_performance,
    show_readiness,
    shown,
    value_json,
    value_line,
)
from gateway.cli_output import EXIT_FAILED, EXIT_OK, Output, UsageError, moment_text
from gateway.sensors.obd_links import Link, open_link
from gateway.sensors.obd_source import ObdSource
from gateway.sensors.obd_wishes import wishes_of
from gateway.sensors.schemes import parse_url
from gateway.sensors.source import SYSTEM_CLOCK, SourceUnavailable, SourceUrl
from obd import ecu_io
from obd import vin as vins
from obd.discovery import (
    clear_dtcs,
    discover,
    hold,
    read_dtcs,
    read_freeze_frame,
    read_performance,
    read_pid,
    read_readiness,
    read_table_value,
    read_test_results,
    read_vehicle,
)
from obd.errors import NoAnswer, ObdError, ResponseError, TableError
from obd.pids import fields_of, name_of
from obd.query import NO_CAR, NO_DATA, ecu_name
from obd.value_table import TableValue, load_table

SHOW_MS = 500
"""How often `watch` prints the newest values, unless --all is given."""
SOURCE_HELP = (
    "the way to the car: obd:/dev/ttyUSB0?baud=38400, obd:tcp://192.168.0.10:35000, obd+can:can0; "
    "a path alone is a serial port, such as /dev/ttyUSB0"
)


def add(subcommands: _SubParsersAction[ArgumentParser]) -> None:
    """Adds `cpc obd`."""
    obd = subcommands.add_parser(
        "obd",
        help="look into a car: its values, trouble codes and VIN",
        formatter_class=RawDescriptionHelpFormatter,
        epilog="try it without a car, in two terminals:\n"
        "  cpc obd simulate --link car      a simulated car, whose adapter has the path `car`\n"
        "  cpc obd list car",
    )
    kinds = obd.add_subparsers(dest="kind", metavar="WHAT", required=True)
    listing = _command(kinds, "list", "what the car offers, with its values now", run_list)
    listing.add_argument(
        "--formulas", action="store_true", help="show formula, range and source of each value"
    )
    listing.add_argument(
        "--table", type=Path, help="a .toml or .csv file with manufacturer's values (UDS 22)"
    )
    watch = _command(kinds, "watch", "live values", run_watch)
    watch.add_argument("--pids", default="", help="which, and how often: 0C:200,engine_load,05:5000 [all]")
    watch.add_argument("--table", default="", help="a .toml or .csv file with manufacturer's values (UDS 22)")
    watch.add_argument("--all", action="store_true", help="every reading, not the newest of each value")
    watch.add_argument("--seconds", type=_seconds, help="stop after so many seconds; Ctrl-C stops, too")
    codes = _command(kinds, "dtc", "trouble codes and readiness", run_dtc)
    codes.add_argument(
        "--freeze", action="store_true", help="also the freeze frame: values when a code was set"
    )
    codes.add_argument(
        "--tests", action="store_true", help="also the car's own tests (service 06), and how often they ran"
    )
    clear = _command(kinds, "clear", "clear trouble codes and what was learnt with them", run_clear)
    clear.add_argument("--yes", action="store_true", help="do not ask")
    _command(kinds, "vin", "VIN, calibrations and names of ECUs", run_vin)
    simulate = kinds.add_parser(
        "simulate",
        help="a simulated car to try all of this on",
        formatter_class=RawDescriptionHelpFormatter,
        description=ecu_io.DESCRIPTION,
        epilog=ecu_io.EXAMPLES,
    )
    ecu_io.add_arguments(simulate)
    simulate.set_defaults(run=ecu_io.run)


EXAMPLES = {
    "list": ("{}", "{} --formulas", "{} --table maker.toml --json"),
    "watch": ("{}", "{} --pids 0C:200,vehicle_speed,05:5000", "{} --all --json --seconds 60"),
    "dtc": ("{}", "{} --freeze --tests"),
    "clear": ("{}", "{} --yes"),
    "vin": ("{}", "{} --json"),
}
WAYS = ("obd:/dev/ttyUSB0", "obd:tcp://192.168.0.10:35000", "obd+can:can0")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return seconds


def _command(kinds: _SubParsersAction[ArgumentParser], name: str, text: str, run: Any) -> ArgumentParser:
    lines = [f"  cpc obd {name} {line.format(way)}" for line, way in zip(EXAMPLES[name], WAYS, strict=False)]
    parser = kinds.add_parser(
        name,
        help=text,
        formatter_class=RawDescriptionHelpFormatter,
        epilog="examples:\n" + "\n".join(lines),
    )
    parser.add_argument("source", help=SOURCE_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def parse_source(text: str) -> SourceUrl:
    """The way to a car that `text` names.  Raises BadSourceUrl, UsageError."""
    if text.startswith("tcp://") or "/" in text.partition(":")[0] or Path(text).exists():
        text = f"obd:{text}"
    if not text.startswith(("obd:", "obd+can:")):
        raise UsageError(f"{text!r} is no way to a car; {SOURCE_HELP}")
    url, _ = parse_url(text)
    return url


@contextmanager
def opened(text: str, table: tuple[TableValue, ...] = ()) -> Iterator[Link]:
    """The open link; what a car or adapter does wrong inside becomes SourceUnavailable."""
    url = parse_source(text)
    link = open_link(url, SYSTEM_CLOCK, [value.target.response_id for value in table if value.target])
    try:
        link.open()
        yield link
    except ObdError as error:
        is_off = isinstance(error, NoAnswer) and error.problem in (NO_CAR, NO_DATA)
        raise SourceUnavailable(url.text, f"{error}{'; is the ignition on?' if is_off else ''}") from error
    finally:
        link.close()


# list


def run_list(args: Namespace) -> int:
    """`cpc obd list`."""
    output = Output(args)
    try:
        table = tuple(load_table(args.table)) if args.table else ()
    except TableError as error:
        raise UsageError(f"{error}") from error
    with opened(args.source, table) as link:
        car = hold(discover(), link.ask)
        output.value({"link": link.describe()}, about(link, car))
        for pid in car.pids:
            try:
                readings = hold(read_pid(car, pid), link.ask)
            except NoAnswer as error:
                if error.problem == NO_CAR:
                    raise
                # One value that an ECU gets wrong must not hide all others.
                output.value(
                    {"pid": f"01{pid:02X}", "problem": str(error)}, f"01{pid:02X}    {name_of(pid)}: {error}"
                )
                continue
            if not fields_of(pid):
                output.value({"pid": f"01{pid:02X}", "name": ""}, f"01{pid:02X}    {name_of(pid)}")
            for reading in readings:
                for value in reading.values:
                    output.value(
                        value_json(reading, value),
                        value_line(f"01{pid:02X}", value.field, value.value, reading.ecu, args.formulas),
                    )
        for row in table:
            _list_row(output, link, row)
    return EXIT_OK


def _list_row(output: Output, link: Link, row: TableValue) -> None:
    pid = f"22{row.did:04X}"
    try:
        found = hold(read_table_value(row), link.ask)
    except (NoAnswer, ResponseError) as error:
        output.value({"pid": pid, "name": row.name, "problem": str(error)}, f"{pid:<7} {row.name}: {error}")
        return
    if not found:
        output.value(
            {"pid": pid, "name": row.name, "problem": "no answer"}, f"{pid:<7} {row.name}: no answer"
        )
    for ecu, data, value in found:
        output.value(
            {
                "pid": pid,
                "name": row.name,
                "value": plain(value),
                "unit": row.unit,
                "ecu": ecu_name(ecu),
                "raw": data.hex().upper(),
            },
            f"{pid:<7} {ecu_name(ecu):<8} {row.name:<26} {f'{shown(value)} {row.unit}'.rstrip()}",
        )


# watch


async def run_watch(args: Namespace) -> int:
    """`cpc obd watch`."""
    output = Output(args)
    url = parse_source(args.source)
    options = {
        **url.options,
        **{name: getattr(args, name) for name in ("pids", "table") if getattr(args, name)},
    }
    url = SourceUrl(url.text, url.target, options)
    wishes = wishes_of(url)
    response_ids = [value.target.response_id for value in wishes.table if value.target]
    link = open_link(url, SYSTEM_CLOCK, response_ids)
    source = await asyncio.to_thread(ObdSource, "watch", link, SYSTEM_CLOCK, wishes)
    end_ns = time.monotonic_ns() + int(args.seconds * 1e9) if args.seconds else None
    newest: dict[tuple[str, str, str], tuple[int, dict[str, Any]]] = {}
    shown_ns = time.monotonic_ns()

    async def follow() -> None:
        nonlocal shown_ns
        async for batch in source.batches():
            for _, gap in batch.gaps:
                output.note(gap.reason)
            for taken_ns, value in zip(batch.taken_ns, batch.values, strict=True):
                if args.all or args.json:
                    _show(output, taken_ns, value)
                else:
                    newest[value["ecu"], value["pid"], value["name"]] = taken_ns, value
            if newest and time.monotonic_ns() - shown_ns >= SHOW_MS * 1_000_000:
                shown_ns = time.monotonic_ns()
                for key in sorted(newest):
                    _show(output, *newest[key])
                newest.clear()

    try:
        left = None if end_ns is None else max((end_ns - time.monotonic_ns()) / 1e9, 0)
        # Not wait_for: before Python 3.12 it loses a cancellation that comes when what it waits for is done.
        async with asyncio.timeout(left):
            await follow()
    except TimeoutError:
        for key in sorted(newest):
            _show(output, *newest[key])
    finally:
        await source.close()
    worker = source.worker
    if worker is not None and worker.scheduler is not None and worker.scheduler.query_ms:
        scheduler = worker.scheduler
        output.note(
            f"the way to the car manages {scheduler.capacity_per_s:.0f} values a second, "
            f"{scheduler.wanted_per_s:.0f} are wanted"
        )
    return EXIT_OK


def _show(output: Output, taken_ns: int, value: dict[str, Any]) -> None:
    output.value(
        {"time_ns": taken_ns, **{name: plain(item) for name, item in value.items()}},
        f"{moment_text(taken_ns)[11:-1]}  {value['ecu']:<8} {value['name']:<26} "
        f"{shown(value['value'])} {value['unit']}".rstrip(),
    )


# dtc


def run_dtc(args: Namespace) -> int:
    """`cpc obd dtc`."""
    output = Output(args)
    with opened(args.source) as link:
        codes = hold(read_dtcs(), link.ask)
        readiness = hold(read_readiness(), link.ask)
        show_codes(output, codes)
        for ecu, state in sorted(readiness.items()):
            show_readiness(output, ecu, state)
        if args.freeze:
            for ecu, readings in hold(read_freeze_frame(), link.ask).items():
                output.line(f"\nfreeze frame of {ecu_name(ecu)}:")
                for reading in readings:
                    for value in reading.values:
                        output.value(
                            {**value_json(reading, value), "pid": f"02{reading.pid:02X}"},
                            value_line(f"02{reading.pid:02X}", value.field, value.value, ecu, False),
                        )
        if args.tests:
            for ecu, results in hold(read_test_results(), link.ask).items():
                output.line(f"\ntests of {ecu_name(ecu)}:")
                for one in results:
                    verdict = "passed" if one.is_passed else "FAILED"
                    output.value(
                        {
                            "ecu": ecu_name(ecu),
                            "monitor": one.name,
                            "test": one.test,
                            "value": one.value,
                            "range": [one.low, one.high],
                            "unit": one.unit,
                            "is_passed": one.is_passed,
                        },
                        f"{verdict}  {one.name}, test {one.test:02X}: "
                        f"{f'{shown(one.value)} {one.unit}'.rstrip()}, allowed "
                        f"{shown(one.low)} to {shown(one.high)}",
                    )
            for ecu, performance in hold(read_performance(), link.ask).items():
                show_performance(output, ecu, performance)
    return EXIT_OK


# clear


def run_clear(args: Namespace) -> int:
    """`cpc obd clear`."""
    output = Output(args)
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to ask; add --yes to clear without asking")
        print(
            "This clears stored and pending codes, freeze frames and all monitors; an emission test then\n"
            "fails until the car has driven enough.  Go on? [y/N] ",
            end="",
            flush=True,
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            output.line("nothing was cleared")
            return EXIT_OK
    with opened(args.source) as link:
        results = hold(clear_dtcs(), link.ask)
    for ecu, refusal in results.items():
        output.value(
            {"ecu": ecu_name(ecu), "is_cleared": not refusal, "problem": refusal},
            f"{ecu_name(ecu)}: {refusal or 'cleared'}",
        )
    if not results:
        output.note("no ECU answered")
    return EXIT_OK if results and not any(results.values()) else EXIT_FAILED


# vin


def run_vin(args: Namespace) -> int:
    """`cpc obd vin`."""
    output = Output(args)
    with opened(args.source) as link:
        # Somebody must answer at all, or silence would look like a car without a VIN.
        hold(discover(), link.ask)
        vehicle = hold(read_vehicle(), link.ask)
    fault = vins.fault(vehicle.vin) if vehicle.vin else "the car tells none"
    is_checked = vins.has_check_digit(vehicle.vin)
    if fault is not None:
        remark = fault
    elif is_checked:
        remark = "check digit correct"
    else:
        remark = (
            f"no check digit, it would be {vins.check_digit(vehicle.vin)}; usual outside of North America"
        )
    output.value(
        {
            "vin": vehicle.vin,
            "has_check_digit": is_checked,
            "region": vins.region(vehicle.vin),
            "fault": fault,
            "calibration_ids": {ecu_name(ecu): ids for ecu, ids in vehicle.calibration_ids.items()},
            "verification_numbers": {
                ecu_name(ecu): numbers for ecu, numbers in vehicle.verification_numbers.items()
            },
            "names": {ecu_name(ecu): name for ecu, name in vehicle.names.items()},
        },
        f"VIN {vehicle.vin or '-'}  ({remark})",
    )
    for ecu in sorted({*vehicle.names, *vehicle.calibration_ids}):
        output.line(
            f"{ecu_name(ecu):<8} {vehicle.names.get(ecu, ''):<22} "
            f"calibration {' '.join(vehicle.calibration_ids.get(ecu, ['-']))}, "
            f"verification {' '.join(vehicle.verification_numbers.get(ecu, ['-']))}"
        )
    return EXIT_OK
