"""What an operator may set on a device: few named values, kept whole or not at all.

Runs on CPython and MicroPython.  A role says what there is:

    {name: (value, least, most)}      an integer, and its limits
    {name: (text, None, bytes_max)}   text, and its length in UTF-8

In flash are only values that were set, as notes under a key of the device (puf/notes.py).  Values of names
that this firmware does not know, or that it would refuse, are left where they are and not used: an update
that is rolled back finds its own again.
"""

from devices.micropython.errors import SettingError
from puf import cbor
from puf.errors import DecodeError
from puf.notes import NOTES_BYTES_MAX, Notes, Slots


class Settings:
    """The settings of one device.  `slots`: where they are kept; `key`: bytes, 32; `fields`: see above.

    `initial`: values of the provisioning file, which count until others are set.
    """

    def __init__(
        self,
        slots: Slots,
        key: bytes,
        fields: "dict[str, tuple[int | str, int | None, int]]",
        initial: "dict[str, object] | None" = None,
    ) -> None:
        self._notes = Notes(slots, key, "settings")
        self._fields = fields
        self._initial = initial or {}
        self._changed: dict[object, object] = {}
        if self._notes.value is not None:
            try:
                kept = cbor.decode(self._notes.value, NOTES_BYTES_MAX, 1)
                if isinstance(kept, dict):
                    self._changed = kept
            except DecodeError:
                # Under our own tag only a bug of an older firmware writes so; the defaults are always good.
                self._changed = {}

    def get(self, name: str) -> "int | str":
        """The value in force."""
        for values in (self._changed, self._initial):
            if name in values and self._is_good(name, values[name]):
                return values[name]  # type: ignore[return-value]
        return self._fields[name][0]

    def all(self) -> "dict[str, int | str]":
        """Every value in force, by name."""
        return {name: self.get(name) for name in self._fields}

    def change(self, values: "dict[object, object]") -> None:
        """Sets these; they are in flash when this returns.  Raises SettingError, and nothing is changed."""
        for name in values:
            if name not in self._fields:
                raise SettingError(f"there is no setting {name!r}")
            if not self._is_good(str(name), values[name]):
                raise SettingError(f"setting {name} cannot be {values[name]!r}")
        changed = dict(self._changed)
        changed.update(values)
        data = cbor.encode(changed)
        if len(data) > NOTES_BYTES_MAX:
            raise SettingError(f"settings have {NOTES_BYTES_MAX} bytes in all; write less text")
        self._notes.write(data)
        self._changed = changed

    def _is_good(self, name: str, value: object) -> bool:
        _, least, most = self._fields[name]
        if least is None:
            return isinstance(value, str) and len(value.encode()) <= most
        return type(value) is int and least <= value <= most
