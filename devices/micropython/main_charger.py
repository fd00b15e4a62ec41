"""The firmware of a charging station.  Runs on MicroPython."""

from devices.micropython import compose
from puf.notes import Notes


def main() -> None:
    """Runs it; returns when a restart was asked for."""
    kit = compose.Kit("charger")
    from devices.micropython import role_charger

    kit.open_settings(role_charger.SETTINGS)
    notes = Notes(kit.flash.slots("energy"), kit.keys.settings_key(), "energy")
    compose.run(kit, role_charger.Role(kit.data, kit.settings, kit.log, kit.keys.gateway, notes, kit.clock))
