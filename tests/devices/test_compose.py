"""When new firmware counts as good, on a real MicroPython."""

import os
import subprocess

from tests.micropython import ROOT, need_micropython

CODE = """
import asyncio
import machine
from devices.micropython import boot_state, compose

compose.SELF_TEST_MS = 1
boot_state.is_trial = True
machine.reset = lambda: print("reset")

class Radio:
    has_advertised = False

class Kit:
    def accept(self):
        print("accepted")

async def story():
    radio = Radio()
    await compose.Kit.confirm(Kit(), radio)
    trial = asyncio.create_task(compose.Kit.confirm(Kit(), radio))
    await asyncio.sleep_ms(0)
    radio.has_advertised = True
    await trial

asyncio.run(story())
"""


def test_a_trial_that_is_never_on_the_air_starts_anew_and_is_not_confirmed() -> None:
    done = subprocess.run(
        [*need_micropython(), "-X", "heapsize=1m", "-c", CODE],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "MICROPYPATH": f"{ROOT / 'hil' / 'micropython'}:{ROOT}:.frozen"},
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["reset", "accepted"], "")
