"""The firmware of a parking lock.  Runs on MicroPython."""

from devices.micropython import compose


def main() -> None:
    """Runs it; returns when a restart was asked for."""
    kit = compose.Kit("lock")
    from devices.micropython import role_lock

    kit.open_settings(role_lock.SETTINGS)
    compose.run(
        kit,
        role_lock.Role(kit.data, kit.settings, kit.log, kit.keys.gateway, kit.is_near, kit.clock),
    )
