"""The one string that opens a source: `scheme:target?option=value&..`.

Runs on CPython.  Kinds of sources are rows of `SCHEMES`; their modules load when first opened, because
the libraries of buses and radios take longer to load than the rest of the gateway.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from gateway.sensors.source import (
    BLOCK,
    DROP_NEWEST,
    DROP_OLDEST,
    SYSTEM_CLOCK,
    BadSourceUrl,
    Clock,
    Source,
    SourceUrl,
)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of source: a row of `SCHEMES`."""

    opener: Callable[[SourceUrl, str, Clock], Source]
    """Called with the URL, the source's name and the clock."""
    example: str
    """A URL that opens one."""
    options: tuple[str, ...] = ()
    """Options it knows; others are refused before the opener is called."""
    is_file: bool = False
    """What stands behind the colon is the name of a file."""
    file_options: tuple[str, ...] = ()
    """Those of its options that name a file."""
    needs_target: bool = True
    """Something must stand behind the colon."""
    overruns: tuple[str, ...] = (DROP_NEWEST, DROP_OLDEST)
    """Loss policies that it can follow, the one it follows unless told otherwise first."""


def _late(module: str, function: str) -> Callable[[SourceUrl, str, Clock], Source]:
    """The opener `function` of gateway.sensors.`module`, which is imported when it is first needed."""

    def opener(url: SourceUrl, name: str, clock: Clock) -> Source:
        source: Source = getattr(import_module(f"gateway.sensors.{module}"), function)(url, name, clock)
        return source

    return opener


_CAN_BUS = _late("can_bus", "open_can_bus")
_MQTT = _late("mqtt_source", "open_mqtt")
_MQTT_OPTIONS = (
    *("ca", "cert", "client_id", "expiry_ms", "keepalive_ms", "key", "password_file", "payload"),
    *("qos", "queue", "share", "tls_min", "username", "v", "wait"),
)
_MQTT_FILES = ("ca", "cert", "key", "password_file")
_WAITS = (BLOCK,)
"""Of what is read as fast as it can be stored: nothing is ever lost."""
_OBD = _late("obd_source", "open_obd")

SCHEMES: dict[str, Scheme] = {
    "can": Scheme(_CAN_BUS, "can:can0", ("bitrate", "fd", "queue", "wait")),
    "can+virtual": Scheme(_CAN_BUS, "can+virtual:bench", ("queue", "wait")),
    "can+udp": Scheme(
        _CAN_BUS, "can+udp:239.74.163.2?port=43113", ("fd", "hop_limit", "port", "queue", "wait")
    ),
    "replay": Scheme(
        _late("can_replay", "open_can_replay"),
        "replay:trip.trc?speed=max",
        ("channel", "loop", "speed", "start"),
        is_file=True,
        overruns=_WAITS,
    ),
    "sim": Scheme(
        _late("can_simulated", "open_can_simulated"),
        "sim:car?rate_hz=1000&seed=1",
        ("rate_hz", "seconds", "seed", "speed"),
        overruns=_WAITS,
    ),
    "obd": Scheme(
        _OBD,
        "obd:/dev/ttyUSB0",
        ("baud", "dtc_period_ms", "pids", "protocol", "queue", "table", "wait"),
        file_options=("table",),
    ),
    "obd+can": Scheme(
        _OBD,
        "obd+can:can0",
        ("bits", "dtc_period_ms", "interface", "pids", "queue", "table", "wait"),
        file_options=("table",),
    ),
    "serial": Scheme(
        _late("serial_source", "open_serial"),
        "serial:/dev/ttyACM0?baud=9600&framing=nmea",
        ("baud", "flow", "framing", "length", "mode", "pause_ms", "queue", "sync", "wait"),
    ),
    "mqtt": Scheme(
        _MQTT,
        "mqtt://127.0.0.1/site/+/data",
        _MQTT_OPTIONS,
        file_options=_MQTT_FILES,
        overruns=(BLOCK, DROP_NEWEST, DROP_OLDEST),
    ),
    "mqtts": Scheme(
        _MQTT,
        "mqtts://broker.example/site/+/data?ca=ca.pem",
        _MQTT_OPTIONS,
        file_options=_MQTT_FILES,
        overruns=(BLOCK, DROP_NEWEST, DROP_OLDEST),
    ),
    "ble": Scheme(
        _late("ble_source", "open_ble"),
        "ble:hci0",
        (
            "active",
            "adapter",
            "address",
            "characteristic",
            "duplicates",
            "keys",
            "name",
            "queue",
            "silence_ms",
        ),
        file_options=("keys",),
        needs_target=False,
    ),
    "btsnoop": Scheme(
        _late("btsnoop_source", "open_btsnoop"),
        "btsnoop:btsnoop_hci.log?speed=max",
        ("keys", "speed", "start"),
        is_file=True,
        file_options=("keys",),
        overruns=_WAITS,
    ),
    "csv": Scheme(
        _late("csv_source", "open_csv"),
        "csv:trip.csv?time=TIME&delimiter=semicolon",
        ("decimal", "delimiter", "encoding", "interval_ms", "speed", "start", "time"),
        is_file=True,
        overruns=_WAITS,
    ),
}
"""Kinds of sources by the word before the colon."""


def parse_url(text: str) -> tuple[SourceUrl, Scheme]:
    """`text` taken apart, and the row of `SCHEMES` it names.  Raises BadSourceUrl."""
    word, colon, rest = text.partition(":")
    scheme = SCHEMES.get(word)
    if not colon or scheme is None:
        raise BadSourceUrl(
            text,
            f"unknown kind {word!r}; known are {', '.join(SCHEMES)}; for example: {SCHEMES['can'].example}",
        )
    # The last question mark, so that a file with one in its name can be written with one behind it.
    target, mark, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    if not target and scheme.needs_target:
        raise BadSourceUrl(text, f"nothing behind {word}: ; for example: {scheme.example}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if mark and query else []
    except ValueError:
        raise BadSourceUrl(
            text, f"options are written name=value, joined by &; for example: {scheme.example}"
        ) from None
    options: dict[str, str] = {}
    for option, value in pairs:
        if option not in scheme.options:
            raise BadSourceUrl(
                text,
                f"unknown option {option!r}; {word}: knows {', '.join(scheme.options) or 'none'}; "
                f"for example: {scheme.example}",
            )
        if option in options:
            raise BadSourceUrl(text, f"option {option!r} is given twice")
        options[option] = value
    return SourceUrl(text, target, options), scheme


def resolved(text: str, folder: Path) -> str:
    """`text` with every file that it names absolute, relative names starting from `folder`.

    Raises BadSourceUrl.
    """
    url, scheme = parse_url(text)
    target = str(folder / url.target) if scheme.is_file else url.target
    options = {
        name: str(folder / value) if name in scheme.file_options else value
        for name, value in url.options.items()
    }
    if (target, options) == (url.target, dict(url.options)):
        return text
    query = urlencode(options, safe="/", quote_via=quote)
    # Without options, a question mark in the name of a folder would be read as their beginning.
    return text.partition(":")[0] + ":" + target + ("?" + query if query or "?" in target else "")


def overruns(text: str) -> tuple[str, ...]:
    """Loss policies of the source that `text` names, its own one first.  Raises BadSourceUrl."""
    url, scheme = parse_url(text)
    if url.options.get("qos") == "0":
        # A broker waits for nobody with these: it would drop them, and nobody would count.
        return tuple(each for each in scheme.overruns if each != BLOCK)
    return scheme.overruns


def open_source(url: str, *, name: str, clock: Clock = SYSTEM_CLOCK, overrun: str = "") -> Source:
    """The source that `url` names.  Raises SourceError; the message lists what is allowed.

    overrun: its loss policy; empty: its own.
    """
    parsed, scheme = parse_url(url)
    allowed = overruns(url)
    if overrun and overrun not in allowed:
        raise parsed.bad(f"its loss policy cannot be {overrun}; allowed are {', '.join(allowed)}")
    source = scheme.opener(parsed, name, clock)
    source.overrun = overrun or allowed[0]
    return source
