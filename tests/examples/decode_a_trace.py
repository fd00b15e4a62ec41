"""Read CAN frames from any source and decode them, without a gateway.

    python tests/examples/decode_a_trace.py [SOURCE [DBC]]

SOURCE is a source string such as replay:trip.trc?speed=max; without arguments a simulated car drives.
"""

import asyncio
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path

from gateway.sensors.dbc import DbcDecoder
from gateway.sensors.schemes import open_source


async def main(url: str, dbc: Path) -> None:
    """Counts the messages of a source by name, and prints the last values of each."""
    decoder = DbcDecoder.load([dbc])
    counts: Counter[str] = Counter()
    newest: dict[str, object] = {}
    source = open_source(url, name="example")
    async for batch in source.batches():
        for frame in batch.values:
            name = decoder.name(frame) or f"unknown {frame.arbitration_id:X}"
            counts[name] += 1
            newest[name] = decoder.decode(frame)
    for name, count in counts.most_common():
        print(f"{count:6} x {name}: {newest[name]}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    car_dbc = Path(str(files("gateway.sensors").joinpath("car.dbc")))
    url = arguments[0] if arguments else "sim:car?seconds=5&speed=max"
    asyncio.run(main(url, Path(arguments[1]) if len(arguments) > 1 else car_dbc))
