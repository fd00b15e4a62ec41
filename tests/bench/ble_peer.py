"""Measures the parser packages of PyPI in the environment that they live in.

Runs on CPython.  `ble_adverts.py` runs this file by path in that environment, so it imports nothing of ours.
What the packages pull in is GPL in part and has no wheels, so they are nobody's dependency.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

CLASSES = {
    "bthome": ("bthome_ble", "BTHomeBluetoothDeviceData"),
    "govee": ("govee_ble", "GoveeBluetoothDeviceData"),
    "ruuvi": ("ruuvitag_ble", "RuuvitagBluetoothDeviceData"),
    "xiaomi": ("xiaomi_ble", "XiaomiBluetoothDeviceData"),
}


def measure(path: str) -> dict[str, object]:
    """CPU of parsing every advertisement of a file, and the temperatures found."""
    from importlib import import_module

    models: Any = import_module("habluetooth")
    parsers: dict[str, Any] = {}
    work = []
    for number, item in enumerate(json.loads(Path(path).read_text())):
        if item["family"] not in parsers:
            module, name = CLASSES[item["family"]]
            parsers[item["family"]] = getattr(import_module(module), name)()
        info = models.BluetoothServiceInfoBleak(
            name=item["name"] or item["address"],
            address=item["address"],
            rssi=item["rssi"],
            manufacturer_data={int(key): bytes.fromhex(data) for key, data in item["manufacturer"].items()},
            service_data={key: bytes.fromhex(data) for key, data in item["services"].items()},
            service_uuids=list(item["services"]),
            source="local",
            device=None,
            advertisement=None,
            connectable=False,
            # Packages drop what comes again within seconds.
            time=10.0 * number,
            tx_power=None,
        )
        work.append((parsers[item["family"]], info))
    temperatures = []
    begin_ns = time.process_time_ns()
    for parser, info in work:
        update = parser.update(info)
        # They keep one dict for all updates, so the value must be read now.
        temperatures += [
            value.native_value for key, value in update.entity_values.items() if key.key == "temperature"
        ]
    cpu_us = (time.process_time_ns() - begin_ns) / 1000
    return {"cpu_us": cpu_us, "temperatures_mdegc": [round(value * 1000) for value in temperatures]}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
