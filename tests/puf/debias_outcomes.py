"""What debiasing makes of a line `response|noisy|bit_count`, in hex, as text that is the same everywhere.

Runs on CPython and MicroPython.
"""

import sys

from puf import debias
from puf.errors import TooFewCells


def outcome(line: str) -> str:
    """Groups, mask, bits and bits of the noisy response, or the error."""
    response, noisy, bit_count = line.split("|")
    data = bytes.fromhex(response)
    try:
        mask, bits = debias.enrol(data, int(bit_count))
        again = debias.reproduce(bytes.fromhex(noisy), mask)
    except (TooFewCells, ValueError) as error:
        return f"{debias.group_count(data)} {type(error).__name__}: {error}"
    return f"{debias.group_count(data)} {mask.hex()} {bits.hex()} {again.hex()}"


if __name__ == "__main__":
    for text in sys.stdin:
        print(outcome(text.rstrip("\n")))
