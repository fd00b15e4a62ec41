"""Measures the parser packages of PyPI; and, as `python -m tests.bench.ble_peer`, makes their environment.

Runs on CPython.  `ble_adverts.py` runs this file by path in that environment, so it imports nothing of ours.
What the packages pull in is GPL in part and has no wheels, so they are nobody's dependency.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("bthome-ble==3.25.0", "govee-ble==1.5.2", "ruuvitag-ble==0.4.0", "xiaomi-ble==1.21.2")
FOLDER = Path("build") / "peers" / "ble-parsers"
CLASSES = {
    "bthome": ("bthome_ble", "BTHomeBluetoothDeviceData"),
    "govee": ("govee_ble", "GoveeBluetoothDeviceData"),
    "ruuvi": ("ruuvitag_ble", "RuuvitagBluetoothDeviceData"),
    "xiaomi": ("xiaomi_ble", "XiaomiBluetoothDeviceData"),
}


def install() -> None:
    """Makes the environment below `build`, from the package index that pip is set up for."""
    root = Path(__file__).resolve().parent.parent.parent
    folder = root / FOLDER
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", *PACKAGES], check=True)


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
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        install()
