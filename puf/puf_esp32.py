"""The PUF of an ESP32: the first 2,040 bytes of its RTC slow memory.

Runs on CPython and MicroPython.  NOT RUN ON AN ESP32: what is written here follows the sources below, and
the tests run it on real memory of another machine.  Assess recordings of your boards before you rely on it.

RTC slow memory is 8 KB at 0x50000000 that no start-up code clears.  MicroPython reserves the first 2,040
bytes for the ULP coprocessor (CONFIG_ULP_COPROC_RESERVE_MEM) and leaves them alone unless a ULP program is
loaded; its own variables lie behind.  So a device that uses the ULP cannot use this source.

Two ways to a fresh pattern.  Power-on.  Or a deep sleep in which RTC slow memory loses its power: `retake`.
In plain MicroPython deep sleep keeps it powered, because variables lie in it; firmware that calls
esp_sleep_pd_config(ESP_PD_DOMAIN_RTC_SLOW_MEM, ESP_PD_OPTION_OFF) before does not.  Nothing needs to be
believed: the region is zeros when sleep begins, and zeros after it are refused.

Source: Espressif, ESP32 Technical Reference Manual, chapters on memory and on low-power management; ESP-IDF
Programming Guide, "Sleep modes"; MicroPython, ports/esp32 (modmachine.c for the causes of a reset).
"""

from puf.puf_source import MemorySource

ADDRESS = 0x50000000
SIZE = 2040
RETAKE_MS = 500
"""How long the power stays off: cells keep some of their charge for a while, longer when it is cold."""


class Esp32RtcMemory(MemorySource):
    """RTC slow memory.  `machine`: MicroPython's module; `size`: bytes from its start, at most 2,040."""

    def __init__(self, machine: "object", size: int = SIZE) -> None:
        if size > SIZE:
            raise ValueError(f"{SIZE} bytes are reserved, not {size}")
        causes = (machine.PWRON_RESET, machine.DEEPSLEEP_RESET)  # type: ignore[attr-defined]
        MemorySource.__init__(self, machine, ADDRESS, size, causes)

    def retake(self, off_ms: int = RETAKE_MS) -> None:
        """Sleep deeply and start anew with, perhaps, a fresh pattern.  Does not return on a board."""
        words = self._machine.mem32  # type: ignore[attr-defined]
        for at in range(0, self.size, 4):
            words[self.address + at] = 0
        self._machine.deepsleep(off_ms)  # type: ignore[attr-defined]
