"""Both ends of a conversation in every kind of addressing, for tests: ours, and the peer's."""

from obd import isotp_address

ADDRESSES: dict[str, tuple[isotp_address.Address, isotp_address.Address]] = {
    "normal": (isotp_address.normal(0x7E0, 0x7E8), isotp_address.normal(0x7E8, 0x7E0)),
    "normal 29 bit": (
        isotp_address.normal(0x18DA10F1, 0x18DAF110, True),
        isotp_address.normal(0x18DAF110, 0x18DA10F1, True),
    ),
    "normal fixed": (isotp_address.normal_fixed(0x28), isotp_address.normal_fixed(0xF1, 0x28)),
    "extended": (
        isotp_address.extended(0x6F1, 0x612, 0x12, 0xF1),
        isotp_address.extended(0x612, 0x6F1, 0xF1, 0x12),
    ),
    "extended 29 bit": (
        isotp_address.extended(0x18DA10F1, 0x18DAF110, 0x12, 0xF1, True),
        isotp_address.extended(0x18DAF110, 0x18DA10F1, 0xF1, 0x12, True),
    ),
    # With 11 bits, mixed addressing is extended addressing with one extension for both directions.
    "mixed 11 bit": (
        isotp_address.extended(0x712, 0x71A, 0x55, 0x55),
        isotp_address.extended(0x71A, 0x712, 0x55, 0x55),
    ),
    "mixed": (isotp_address.mixed_fixed(0x28, 0xF1, 0x55), isotp_address.mixed_fixed(0xF1, 0x28, 0x55)),
}
