"""What BlueZ, Linux's Bluetooth service, is asked beyond scanning.

Runs on CPython; needs the extra `ble`.  Source: BlueZ, doc/org.bluez.Adapter.rst and
doc/org.bluez.AdvertisementMonitor.rst.
"""

from __future__ import annotations

from typing import Literal

from bleak.args.bluez import BlueZScannerArgs, OrPattern, OrPatternLike
from bleak.assigned_numbers import AdvertisementDataType
from dbus_fast import BusType, DBusError, Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.auth import AuthExternal

from gateway.sensors.source import Clock

OFF_MS = 1_000
"""How long an adapter stays without power."""

# BlueZ scans passively only for patterns; these flags are what nearly all devices send.
_COMMON_FLAGS = (b"\x02", b"\x04", b"\x05", b"\x06", b"\x1a")


def scanner_arguments(adapter: str, is_active: bool) -> tuple[Literal["active", "passive"], BlueZScannerArgs]:
    """(mode, arguments) for bleak's scanner.

    A passive scanner sends nothing, hears no scan responses, and devices without flags not at all.
    """
    if is_active:
        return "active", BlueZScannerArgs(adapter=adapter)
    patterns: list[OrPatternLike] = [
        OrPattern(0, AdvertisementDataType.FLAGS, flags) for flags in _COMMON_FLAGS
    ]
    return "passive", BlueZScannerArgs(adapter=adapter, or_patterns=patterns)


async def power_cycle(adapter: str, clock: Clock) -> None:
    """Switches an adapter off and on again.  Raises OSError, also for what BlueZ refuses."""
    # A connection of its own: the one that bleak holds may be part of what is stuck.
    bus = MessageBus(bus_type=BusType.SYSTEM, auth=AuthExternal())
    try:
        await bus.connect()
        await _set_power(bus, adapter, False)
        await clock.sleep(OFF_MS / 1_000)
        await _set_power(bus, adapter, True)
    except DBusError as error:
        raise OSError(f"{adapter}: {error}") from error
    finally:
        bus.disconnect()


async def _set_power(bus: MessageBus, adapter: str, is_on: bool) -> None:
    reply = await bus.call(
        Message(
            destination="org.bluez",
            path=f"/org/bluez/{adapter}",
            interface="org.freedesktop.DBus.Properties",
            member="Set",
            signature="ssv",
            body=["org.bluez.Adapter1", "Powered", Variant("b", is_on)],
        )
    )
    if reply is None or reply.message_type is not MessageType.METHOD_RETURN:
        reason = f"{reply.error_name} {reply.body}" if reply is not None else "no answer"
        raise OSError(f"{adapter}: BlueZ does not switch its power {'on' if is_on else 'off'}: {reason}")
