"""What a device answers to the requests of who has proved itself.

Runs on CPython and MicroPython.  See commands.py for the formats, puf/grant.py for grants and the time.

A role is an object with KIND (text), ACTIONS (sum of bits of puf/grant.py), `status()` (a dict), and
`act(action, holder, now_ms)`, which returns 0, or a reason of its own from 64 to 255.  `act` is called one at
a time, in the order in which requests came in, whoever sent them: of two visitors the first has what it
wants, and the role refuses the second or not.

A grant is used once.  But a visitor whose link died before the answer came, or whose action the role refused,
may show the same grant again until it ends: what was done is then said again and not done again, and what
was refused is tried again.  The last OUTCOMES_MAX are remembered, until the power goes.
"""

import sys

from devices.micropython import commands, log_ring
from devices.micropython.errors import CommandError, DeviceError, SettingError
from puf.errors import GrantError, PufError
from puf.grant import EPOCH_REVOKED, NONCE_BYTES, REPLAYED, STALE_TIME, WRONG_SUBJECT, Grant
from puf.hkdf import sha256

if sys.implementation.name != "micropython":
    # For their types.
    from devices.micropython.device_keys import Keys
    from devices.micropython.log_ring import Log
    from devices.micropython.settings import Settings

OUTCOMES_MAX = 8
QUESTION_MS = 3_000
"""For so long the same question for the time is given to all who ask: a new one would make it void."""
_FOR_ALL = (commands.STATUS, commands.TIME, commands.GRANT)


class Visitor:
    """Who is at the other end.  `name`: bytes, as it proved itself; `is_owner`: the gateway.

    `is_granted`: whether a grant of its own was taken in this session.
    """

    def __init__(self, name: bytes, is_owner: bool) -> None:
        self.name = name
        self.is_owner = is_owner
        self.is_granted = False


class Outcome:
    """What came of a grant.  `reason`: 0 when its action was done."""

    def __init__(self, key: bytes, grant: Grant, action: int) -> None:
        self.key = key
        self.grant = grant
        self.action = action
        self.reason = -1


class Answerer:
    """Answers for one device.  `ota`: what takes updates, or None; `version`: text, of the firmware.

    `is_ending`: a restart was asked for; do it once the answer is out.
    """

    def __init__(
        self,
        keys: "Keys",
        role: object,
        ota: object,
        log: "Log",
        settings: "Settings",
        version: str,
        random: object,
    ) -> None:
        self.is_ending = False
        self._keys = keys
        self._role = role
        self._ota = ota
        self._log = log
        self._settings = settings
        self._version = version
        self._random = random
        self._question = b""
        self._asked_ms = 0
        self._outcomes: list[Outcome] = []

    def visitor(self, name: bytes, is_owner: bool) -> Visitor:
        """Who has proved itself."""
        return Visitor(name, is_owner)

    def answer(self, visitor: Visitor, plaintext: bytes, now_ms: int) -> bytes:
        """The answer to a request, unsealed."""
        command = 0
        try:
            command, arguments = commands.parse_request(plaintext)
            is_free = visitor.is_owner or (
                command in _FOR_ALL and (command != commands.STATUS or visitor.is_granted)
            )
            if not is_free:
                raise CommandError(command, commands.NOT_YOURS)
            results = self._do(command, arguments, visitor, now_ms)
            return commands.answer(command, commands.DONE, *results)
        except CommandError as error:
            return commands.answer(error.command, error.reason)
        except GrantError as error:
            self._log.write(log_ring.INFO, f"{command}: {error}")
            return commands.answer(command, error.reason)
        except (DeviceError, PufError, OSError, ValueError, MemoryError) as error:
            self._log.write(log_ring.ERROR, f"command {command}: {error!r}")
            return commands.answer(command, commands.FAULT)

    def _do(
        self, command: int, arguments: "list[object]", visitor: Visitor, now_ms: int
    ) -> "tuple[object, ...]":
        """The results of a request.  Raises CommandError, GrantError, and what parts of the device raise."""
        if command == commands.STATUS:
            return (self._status(now_ms),)
        if command == commands.TIME:
            return self._time(arguments, now_ms)
        if command == commands.GRANT:
            return self._grant(arguments, visitor, now_ms)
        if command == commands.LOG:
            return self._log.read(arguments[0], commands.LOG_BYTES_MAX)  # type: ignore[arg-type]
        if command == commands.SETTINGS:
            return (self._set(arguments),)
        if command == commands.OTA:
            body = arguments[0]
            if self._ota is None:
                raise CommandError(command, commands.NOT_HERE)
            if len(body) > commands.BODY_BYTES_MAX:  # type: ignore[arg-type]
                raise CommandError(command, commands.FORMAT_WRONG)
            return (self._ota.handle(body, now_ms),)  # type: ignore[attr-defined]
        if command == commands.REBOOT:
            self._log.write(log_ring.WARNING, "a restart was asked for")
            self.is_ending = True
            return ()
        return self._grant_key(arguments)

    def _status(self, now_ms: int) -> "dict[str, object]":
        return {
            "kind": self._role.KIND,  # type: ignore[attr-defined]
            "version": self._version,
            "uptime_ms": now_ms,
            "actions": self._role.ACTIONS,  # type: ignore[attr-defined]
            "role": self._role.status(),  # type: ignore[attr-defined]
        }

    def _time(self, arguments: "list[object]", now_ms: int) -> "tuple[object, ...]":
        keeper = self._keys.doorkeeper
        if keeper is None:
            raise CommandError(commands.TIME, commands.NOT_HERE)
        if not arguments:
            if not self._question or not 0 <= now_ms - self._asked_ms < QUESTION_MS:
                self._question = keeper.ask_time(self._random(NONCE_BYTES), now_ms)  # type: ignore[operator]
                self._asked_ms = now_ms
            return (self._question,)
        try:
            keeper.hear_time(arguments[0], now_ms)  # type: ignore[arg-type]
        except GrantError as error:
            # Another visitor brought the answer to the same question; the gateway's word was genuine.
            if error.reason != STALE_TIME or keeper.clock.now(now_ms) is None:
                raise
        self._question = b""
        return ()

    def _grant(self, arguments: "list[object]", visitor: Visitor, now_ms: int) -> "tuple[object, ...]":
        action, data = arguments
        keeper = self._keys.doorkeeper
        if keeper is None:
            raise CommandError(commands.GRANT, commands.NOT_HERE)
        if type(action) is not int or not 0 < action < 1 << 16 or not isinstance(data, bytes):
            raise CommandError(commands.GRANT, commands.FORMAT_WRONG)
        key = sha256(data)
        outcome = self._known(key, visitor, action, now_ms)
        if outcome is None:
            outcome = Outcome(key, keeper.check(data, visitor.name, action, now_ms), action)
            self._outcomes = [outcome] + self._outcomes[: OUTCOMES_MAX - 1]  # noqa: RUF005
        visitor.is_granted = True
        if outcome.reason != commands.DONE:
            role = self._role
            if action & ~role.ACTIONS:  # type: ignore[attr-defined]
                raise CommandError(commands.GRANT, commands.NOT_HERE)
            outcome.reason = role.act(action, visitor.name, now_ms)  # type: ignore[attr-defined]
            self._log.write(log_ring.INFO, f"action {action}: reason {outcome.reason}")
        if outcome.reason != commands.DONE:
            raise CommandError(commands.GRANT, outcome.reason)
        return ()

    def _known(self, key: bytes, visitor: Visitor, action: int, now_ms: int) -> "Outcome | None":
        """What came of this grant before.  Raises GrantError when it was somebody else's, or is over."""
        for outcome in self._outcomes:
            if outcome.key == key:
                if outcome.grant.subject != visitor.name:
                    raise GrantError(WRONG_SUBJECT, "this grant is somebody else's")
                span = self._keys.doorkeeper.clock.now(now_ms)  # type: ignore[union-attr]
                is_over = span is None or span[1] >= outcome.grant.until_ms
                if outcome.action != action or is_over or outcome.grant.epoch != self._keys.grant_epoch:
                    raise GrantError(REPLAYED, "this grant was used; ask for a new one")
                return outcome
        return None

    def _set(self, arguments: "list[object]") -> "dict[str, int | str]":
        if arguments:
            try:
                self._settings.change(arguments[0])  # type: ignore[arg-type]
            except SettingError as error:
                self._log.write(log_ring.WARNING, str(error))
                raise CommandError(commands.SETTINGS, commands.SETTING_REFUSED) from None
        return self._settings.all()

    def _grant_key(self, arguments: "list[object]") -> "tuple[object, ...]":
        present = self._keys.grant_epoch
        if not arguments:
            return (present,)
        epoch = arguments[0]
        if type(epoch) is not int or not 0 <= epoch < 1 << 32:
            raise CommandError(commands.GRANT_KEY, commands.FORMAT_WRONG)
        if epoch < present:
            raise GrantError(EPOCH_REVOKED, f"the key of grants is of epoch {present}")
        return epoch, self._keys.grant_key(epoch)
