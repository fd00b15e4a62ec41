"""The PUF of an RP2040: a bank of its SRAM that nothing has written to early after power-up.

Runs on CPython and MicroPython.  NOT RUN ON AN RP2040: what is written here follows the sources below, and
the tests run it on real memory of another machine.  Assess recordings of your boards before you rely on it;
they also show whether boot ROM or firmware write to the region, which is not known here.

Bank SRAM4 ("scratch X", 4 KB at 0x20040000) holds, in the SDK's layout, the stack of the second core and code
that asked to be there.  That stack grows down from the end of the bank and is used once a thread starts; so
the region is the lower half, and it is read in boot.py, before any `_thread`.

The chip says "power-on" after a pull of its RUN pin too, when memory keeps its content.  The zeros that a
read leaves behind tell the two apart.  There is no retake: what powers banks down keeps their cells.

Source: Raspberry Pi, RP2040 Datasheet, "Address Map", "SRAM" and "Chip-Level Reset"; Pico SDK,
memmap_default.ld; MicroPython, ports/rp2 (modmachine.c for the causes of a reset).
"""

from puf.puf_source import MemorySource

ADDRESS = 0x20040000
SIZE = 2048


class Rp2040Scratch(MemorySource):
    """Scratch X.  `machine`: MicroPython's module; `address`, `size`: or another region."""

    def __init__(self, machine: "object", address: int = ADDRESS, size: int = SIZE) -> None:
        causes = (machine.PWRON_RESET,)  # type: ignore[attr-defined]
        MemorySource.__init__(self, machine, address, size, causes)
