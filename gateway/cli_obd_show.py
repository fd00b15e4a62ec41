"""How `cpc obd` shows a car: values, trouble codes, readiness and the way to it, as text and as JSON.

Runs on CPython.
"""

from __future__ import annotations

from gateway.cli_output import Output
from gateway.sensors.obd_links import Link
from obd.discovery import Car, Reading, TroubleCodes
from obd.dtc_texts import text_of
from obd.performance import Performance
from obd.pids import Field, Value
from obd.query import ecu_name
from obd.readiness import Readiness

PROTOCOLS = {
    "1": "SAE J1850 PWM",
    "2": "SAE J1850 VPW",
    "3": "ISO 9141-2",
    "4": "ISO 14230-4, slow start",
    "5": "ISO 14230-4, fast start",
    "6": "CAN, 11 bit, 500 kbit/s",
    "7": "CAN, 29 bit, 500 kbit/s",
    "8": "CAN, 11 bit, 250 kbit/s",
    "9": "CAN, 29 bit, 250 kbit/s",
    "A": "SAE J1939",
}
"""By the digit of ATDPN.  Source: ELM327 data sheet v2.2, "Selecting Protocols"."""


def shown(value: object) -> str:
    """A value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, list):
        return " ".join(str(item) for item in value) or "none"
    return str(value)


def plain(value: object) -> object:
    """A value for JSON."""
    return value.hex().upper() if isinstance(value, bytes) else value


def about(link: Link, car: Car) -> str:
    """The way to a car, and who answers there, for a person."""
    facts = link.describe()
    ways = []
    if "adapter" in facts:
        ways.append(f"adapter {facts['adapter'] or 'without a name'}")
        if facts["plug_mv"]:
            ways.append(f"{int(facts['plug_mv']) / 1000:.1f} V at the plug")
        protocol = str(facts["protocol"])
        ways.append(PROTOCOLS.get(protocol, str(facts["lines"])))
        if facts["refused"]:
            ways.append(f"does not know {facts['refused']}")
    else:
        ways.append(f"{facts['bus']}, ids of {facts['ids']}")
    ecus = ", ".join(f"{ecu_name(ecu)} ({len(pids)} PIDs)" for ecu, pids in car.ecus.items())
    many = "several PIDs a query" if car.takes_many else "one PID a query"
    return f"{', '.join(ways)}\nECUs: {ecus}; {many}\n"


def value_json(reading: Reading, value: Value) -> dict[str, object]:
    """A value with all that is known of it."""
    field: Field = value.field
    return {
        "pid": f"01{reading.pid:02X}",
        "name": field.key,
        "value": plain(value.value),
        "unit": field.unit_text,
        "ecu": ecu_name(reading.ecu),
        "raw": reading.data.hex().upper(),
        "text": field.name,
        "formula": field.formula_text,
        "range": [field.low, field.high],
        "source": field.source,
    }


def value_line(pid: str, field: Field, value: object, ecu: int, with_formula: bool) -> str:
    """A value as one line, or two."""
    text = f"{shown(value)} {field.unit_text}".rstrip()
    line = f"{pid:<7} {ecu_name(ecu):<8} {field.key:<26} {text:<28} {field.name}"
    if with_formula:
        line += f"\n{'':<16} {field.formula_text}, {field.low:g} to {field.high:g}; {field.source}"
    return line


def show_codes(output: Output, codes: TroubleCodes) -> None:
    """Trouble codes with their texts, kind by kind."""
    count = 0
    for kind, found in (("stored", codes.stored), ("pending", codes.pending), ("permanent", codes.permanent)):
        for ecu, texts in sorted(found.items()):
            for code in texts:
                count += 1
                output.value(
                    {"code": code, "kind": kind, "ecu": ecu_name(ecu), "text": text_of(code)},
                    f"{code}  {kind:<9}  {ecu_name(ecu):<8}  {text_of(code)}",
                )
    for problem in codes.problems:
        output.note(problem)
    if not count:
        output.line("no trouble codes")


def show_readiness(output: Output, ecu: int, state: Readiness) -> None:
    """Lamp, count and monitors of one ECU."""
    waiting = [name for name, is_complete in state.monitors if not is_complete]
    lamp = "MIL is ON" if state.is_mil_on else "MIL is off"
    output.value(
        {
            "ecu": ecu_name(ecu),
            "is_mil_on": state.is_mil_on,
            "dtc_count": state.dtc_count,
            "ignition": "compression" if state.is_compression else "spark",
            "monitors": dict(state.monitors),
        },
        f"{ecu_name(ecu)}: {lamp}, {state.dtc_count} code{'' if state.dtc_count == 1 else 's'}; monitors "
        + (f"not complete: {', '.join(waiting)}" if waiting else "all complete"),
    )


def show_performance(output: Output, ecu: int, performance: Performance) -> None:
    """How often each monitor of an ECU has run."""
    output.line(
        f"\nmonitors of {ecu_name(ecu)}, in {performance.ignition_count} starts of the engine and "
        f"{performance.condition_count} drives under the standard's conditions:"
    )
    for name, run_count, chance_count in performance.monitors:
        output.value(
            {"ecu": ecu_name(ecu), "monitor": name, "run_count": run_count, "chance_count": chance_count},
            f"{name:<26} ran {run_count} times of {chance_count}",
        )
