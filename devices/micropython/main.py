"""What a board runs after boot.py: the role that its slot holds.  Runs on MicroPython."""

from devices.micropython import boot_state

boot_state.run()
