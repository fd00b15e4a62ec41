"""Who speaks to whom by ISO-TP: normal, extended, 29-bit fixed and mixed addressing.

Runs on CPython and MicroPython.  Source: ISO 15765-2:2016, section 10.3.
"""

from collections import namedtuple

from obd.can_frame import ERROR, EXTENDED, ID_EXTENDED_MAX, ID_STANDARD_MAX, REMOTE, CanFrame
from obd.errors import AddressError


class Address(namedtuple("Address", ("tx_id", "rx_id", "flags", "tx_prefix", "rx_prefix", "is_functional"))):
    """Whom we speak to, and how it shows in frames.

    flags: EXTENDED for 29 bits.  tx_prefix, rx_prefix: first data byte of extended and mixed addressing,
    or None.  is_functional: to everybody, so single frames only."""

    __slots__ = ()

    def accepts(self, frame: CanFrame) -> bool:
        """The frame is for this conversation."""
        flags = frame.flags
        if frame.arbitration_id != self.rx_id or (flags ^ self.flags) & EXTENDED or flags & (REMOTE | ERROR):
            return False
        prefix: int | None = self.rx_prefix
        return prefix is None or frame.data[:1] == bytes((prefix,))


def normal(tx_id: int, rx_id: int, is_29_bit: bool = False, is_functional: bool = False) -> Address:
    """Two CAN ids, one for each direction.  Raises AddressError."""
    return _checked(tx_id, rx_id, is_29_bit, None, None, is_functional)


def extended(
    tx_id: int, rx_id: int, target: int, source: int, is_29_bit: bool = False, is_functional: bool = False
) -> Address:
    """Two CAN ids, and the target's address as first data byte.  Raises AddressError."""
    return _checked(tx_id, rx_id, is_29_bit, target, source, is_functional)


def normal_fixed(target: int, source: int = 0xF1, is_functional: bool = False) -> Address:
    """29-bit ids made of both addresses: 18DA.., functional 18DB...  Raises AddressError."""
    _check_byte(target)
    _check_byte(source)
    base = 0x18DB0000 if is_functional else 0x18DA0000
    return _checked(
        base | target << 8 | source, 0x18DA0000 | source << 8 | target, True, None, None, is_functional
    )


def mixed_fixed(target: int, source: int, extension: int) -> Address:
    """29-bit ids made of both addresses (18CE..), and an address extension.  Raises AddressError."""
    _check_byte(target)
    _check_byte(source)
    return _checked(
        0x18CE0000 | target << 8 | source,
        0x18CE0000 | source << 8 | target,
        True,
        extension,
        extension,
        False,
    )


def _checked(
    tx_id: int,
    rx_id: int,
    is_29_bit: bool,
    tx_prefix: "int | None",
    rx_prefix: "int | None",
    is_functional: bool,
) -> Address:
    id_max = ID_EXTENDED_MAX if is_29_bit else ID_STANDARD_MAX
    for number in (tx_id, rx_id):
        if not 0 <= number <= id_max:
            raise AddressError(f"id {number:#x} is not within 0 to {id_max:#x}")
    if tx_id == rx_id and tx_prefix == rx_prefix and not is_functional:
        raise AddressError(f"both directions have id {tx_id:#x}; we would hear ourselves")
    for prefix in (tx_prefix, rx_prefix):
        if prefix is not None:
            _check_byte(prefix)
    return Address(tx_id, rx_id, EXTENDED if is_29_bit else 0, tx_prefix, rx_prefix, is_functional)


def _check_byte(number: int) -> None:
    if not 0 <= number <= 255:
        raise AddressError(f"address {number} is not within 0 to 255")
