"""bumble's host as both sides of the air use it: quiet, at a given address, connecting by command.

Runs on CPython; needs bumble.
"""

from __future__ import annotations

import logging
from typing import Any

from bumble import hci
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host

# Every lost link is a warning to bumble, and here links are lost on purpose.
logging.getLogger("bumble").setLevel(logging.CRITICAL)


def make_device(name: str, address: hci.Address, controller_source: Any, controller_sink: Any) -> Device:
    """A host and what is above it; `power_on` is still to come."""
    device = Device(
        config=DeviceConfiguration(name=name, address=address, irk=(bytes(address) * 3)[:16]),
        host=Host(controller_source, controller_sink),
    )
    device.connect_own_address_type = hci.OwnAddressType.RANDOM
    return device


def connect_command(
    peer: hci.Address, interval_min_ms: float, interval_max_ms: float, supervision_ms: int
) -> hci.HCI_LE_Create_Connection_Command:
    """Asks for a connection.  bumble's own `connect` takes any that comes for the one it made."""
    return hci.HCI_LE_Create_Connection_Command(
        le_scan_interval=0x10,
        le_scan_window=0x10,
        initiator_filter_policy=0,
        peer_address_type=peer.address_type,
        peer_address=peer,
        own_address_type=hci.OwnAddressType.RANDOM,
        connection_interval_min=int(interval_min_ms / 1.25),
        connection_interval_max=int(interval_max_ms / 1.25),
        max_latency=0,
        supervision_timeout=supervision_ms // 10,
        min_ce_length=0,
        max_ce_length=0,
    )
