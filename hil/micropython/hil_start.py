"""What a board's ROM does: runs boot.py and main.py, then leaves to the prompt.

Runs on MicroPython.  Both files see one namespace, as on a board.  What ends them shows, and then the console
is a prompt; only `machine.reset` and its like, which leave by SystemExit, end the process.
"""

import os
import time  # noqa: F401  holds the leash from the first moment


def start(namespace):
    """Runs the two files in `namespace`, if they are there."""
    try:
        there = os.listdir()
        for name in ("boot.py", "main.py"):
            if name in there:
                with open(name) as file:
                    code = compile(file.read(), name, "exec")
                exec(code, namespace)  # noqa: S102  this is what a board does
    except SystemExit:
        raise
    except BaseException:
        os.putenv("MICROPYINSPECT", "1")
        raise
    os.putenv("MICROPYINSPECT", "1")
