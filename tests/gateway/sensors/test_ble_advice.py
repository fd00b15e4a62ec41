"""What people are told when Bluetooth does not work."""

import pytest

pytest.importorskip("bleak", reason="bleak is not installed: pip install 'cpchain-edge[ble]'")

from bleak.exc import BleakDBusError, BleakError

from gateway.sensors.ble_advice import NO_ADAPTER, NO_BLUEZ, NO_BUS, NOT_ALLOWED, say


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file"), ConnectionRefusedError(111, "refused")]
)
def test_a_missing_bus_is_said_and_what_brings_it(error: OSError) -> None:
    assert say(error) == NO_BUS


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("org.freedesktop.DBus.Error.ServiceUnknown", NO_BLUEZ),
        ("org.freedesktop.DBus.Error.AccessDenied", NOT_ALLOWED),
        ("org.bluez.Error.NotReady", NO_ADAPTER),
    ],
)
def test_what_the_bus_says_is_kept_beside_its_meaning(name: str, meaning: str) -> None:
    assert say(BleakDBusError(name, ["why"])) == f"BleakDBusError: [{name}] why: {meaning}"


def test_an_adapter_that_is_not_there_is_said() -> None:
    assert (
        say(BleakError("adapter 'hci3' not found")) == f"BleakError: adapter 'hci3' not found: {NO_ADAPTER}"
    )


def test_what_is_not_known_is_said_as_it_is() -> None:
    assert say(BleakError("no characteristic")) == "BleakError: no characteristic"
    assert say(TimeoutError()) == "TimeoutError"
