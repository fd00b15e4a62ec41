"""Follow a GPS receiver on a serial port, without a gateway.

    python tests/examples/read_a_gps.py [DEVICE [BAUD]]

DEVICE is a serial port such as /dev/ttyACM0; without arguments a made-up receiver drives to the north-east.
"""

import asyncio
import os
import sys
import tty

from gateway.sensors.nmea import checksum
from gateway.sensors.schemes import open_source
from gateway.sensors.source import Source


async def follow(source: Source, sentences_max: int = 0) -> None:
    """Prints position and speed of each RMC sentence, and what came damaged."""
    count = 0
    async for batch in source.batches():
        for reading in batch.values:
            count += 1
            if "error" in reading:
                print(f"damaged: {reading['raw']!r}: {reading['error']}")
            elif reading["type"] == "RMC" and reading["is_valid"]:
                latitude, longitude = reading["latitude_e7"] / 1e7, reading["longitude_e7"] / 1e7
                print(f"{latitude:.6f} {longitude:.6f} at {reading['speed_mm_per_s'] / 1000:.1f} m/s")
        for _, gap in batch.gaps:
            print(f"missing: {gap.reason}")
        if sentences_max and count >= sentences_max:
            await source.close()


def open_port(device: str, baud: str) -> Source:
    """The receiver as a source."""
    return open_source(f"serial:{device}?framing=nmea&baud={baud}", name="gps")


def sentence(body: str) -> bytes:
    """`body` as it goes over the wire."""
    return f"${body}*{checksum(body):02X}\r\n".encode()


def demonstrate() -> None:
    """Plays a receiver on a pty, and reads it."""
    receiver, port = os.openpty()
    tty.setraw(port)
    # Opening a port drops what came before.
    source = open_port(os.ttyname(port), "9600")
    for step in range(5):
        place = f"4807.{38000 + 20 * step},N,01131.{20 * step:05},E"
        os.write(receiver, sentence(f"GPRMC,12351{step},A,{place},025.0,045.0,230394,,"))
    os.write(receiver, b"$GPRMC,123519,A,4807.03*00\r\n")
    asyncio.run(follow(source, sentences_max=6))
    os.close(receiver)
    os.close(port)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments:
        baud = arguments[1] if len(arguments) > 1 else "9600"
        asyncio.run(follow(open_port(arguments[0], baud)))
    else:
        demonstrate()
