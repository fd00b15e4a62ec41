"""Fetches an update by HTTP into a folder, as a board with WiFi does.

Runs on MicroPython.    fetch_on_board.py ROOT URL PUBLISHER
"""

import asyncio
import gc
import json
import sys

gc.threshold(4096)  # type: ignore[attr-defined]

from devices.micropython import ota_wifi  # noqa: E402
from devices.micropython.ota import Receiver  # noqa: E402

told: "list[str]" = []


async def main(root: str, url: str, publisher_hex: str) -> None:
    """Told by a message, as the gateway does; joins and leaves a network."""
    from puf import cbor

    async def join(name: str, key: str) -> None:
        told.append(f"joins {name} by {key}")

    left = asyncio.Event()

    def leave() -> None:
        told.append("leaves")
        left.set()

    # Pauses take none of the test's time.
    ota_wifi.PAUSE_MS = 1
    fetcher = ota_wifi.Fetcher(join, leave, lambda: 0, told.append)
    receiver = Receiver(root, bytes.fromhex(publisher_hex), "lock", "esp32", None, fetcher.begin)
    running = asyncio.create_task(fetcher.run(receiver))
    answer = cbor.decode(receiver.handle(cbor.encode([4, url, "net", "secret"]), 0))
    await left.wait()
    running.cancel()
    print(json.dumps({"answer": answer, "told": told, "received": fetcher.received_count}))


asyncio.run(main(*sys.argv[1:]))
