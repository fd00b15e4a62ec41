"""The role of a charging station: what a grant makes of its socket.

Runs on MicroPython.  CHARGE offers the socket's current to whoever is plugged in, or will be within
`plug_ms`.  CLOSE, by the holder or the gateway, ends it; so do unplugging, a fault and a power cut: then
nothing is offered.  Energy is kept in notes each KEEP_WH, so a power cut forgets at most that, to the
driver's gain, where the meter only pulses.

Reasons of `act`: 64 the station has a fault, 65 somebody else charges, 66 not yours to stop.
"""

from devices.micropython import hal, hal_charger, log_ring
from lock_controller import meter, pilot
from lock_controller.meter import PulseMeter, RegisterMeter
from lock_controller.pilot import Levels, Pilot
from puf import cbor
from puf.errors import DecodeError
from puf.grant import CHARGE, CLOSE

FAULTED, TAKEN, NOT_YOURS = 64, 65, 66
SETTINGS: "dict[str, tuple[int | str, int | None, int]]" = {
    "current_ma": (0, 0, 80_000),
    "plug_ms": (300_000, 10_000, 86_400_000),
}
"""What is offered, 0 for what the board bears; how long a grant waits for a plug."""
CHARGING_MS, PLUGGED_MS, IDLE_MS = 20, 50, 200
"""Between two looks."""
KEEP_WH = 250


class Role:
    """A station with one socket.  `notes`: puf.notes.Notes for its energy."""

    KIND = "charger"
    ACTIONS = CHARGE | CLOSE

    def __init__(
        self, data: "dict[str, object]", settings: object, log: object, gateway: bytes, notes: object,
        clock: object,
    ) -> None:  # fmt: skip
        self._settings, self._log, self._gateway = settings, log, gateway
        self._notes, self._clock = notes, clock
        self._port = hal_charger.PilotPort(data["pilot"])
        self._contactor = hal_charger.Contactor(data["contactor"])
        self._pilot = Pilot(data["current_ma_max"], bool(data.get("has_air")))
        self._current_ma_max: int = data["current_ma_max"]
        energy_wh = self._kept_wh = self._read()
        wires: dict[str, int] = data["meter"]
        power_w: int = data["power_w_max"]
        self._pulses = self._modbus = None
        if wires["kind"] == "modbus":
            self._modbus = hal_charger.Modbus(wires)
            self._meter = RegisterMeter(power_w, 10, energy_wh)
        else:
            self._pulses = hal_charger.Pulses(wires)
            self._meter = PulseMeter(power_w, wires["per_kwh"], energy_wh)
        self._holder = b""
        self._allowed_ms = 0
        self._began_wh = 0
        self._timer: object = None
        self._is_busy = False
        self._said = -1, -1, -1

    def _read(self) -> int:
        try:
            kept = cbor.decode(self._notes.value or b"", 16, 0)
        except DecodeError:
            return 0
        return kept if isinstance(kept, int) and kept >= 0 else 0

    def act(self, action: int, holder: bytes, now_ms: int) -> int:
        """Does CHARGE or CLOSE; 0, or why not."""
        if action == CHARGE:
            if self._pilot.state == pilot.FAULT or not self._meter.is_fine:
                return FAULTED
            if self._holder and holder != self._holder:
                return TAKEN
            wanted = self._settings.get("current_ma")
            self._pilot.allow(max(wanted or self._current_ma_max, pilot.CURRENT_MA_MIN))
            if not self._holder:
                self._began_wh = self._meter.energy_wh
            self._holder, self._allowed_ms = holder, now_ms
        elif action == CLOSE:
            if self._holder and holder not in (self._holder, self._gateway):
                return NOT_YOURS
            self._pilot.deny()
        else:
            return NOT_YOURS
        self._step()
        return 0

    def status(self) -> "dict[str, object]":
        """What an operator wants to know."""
        return {
            "state": pilot.NAMES[self._pilot.state],
            "car": pilot.LETTERS[self._pilot.letter],
            "fault": pilot.FAULTS[self._pilot.fault],
            "meter": meter.FAULTS[self._meter.fault],
            "offered_ma": self._pilot.offered_ma,
            "energy_wh": self._meter.energy_wh,
            "session_wh": self._meter.energy_wh - self._began_wh if self._holder else 0,
            "held": bool(self._holder),
        }

    def tick(self, now_ms: int) -> int:
        """Looks and acts; ms until the next look is due."""
        self._step()
        if self._holder and not self._pilot.is_closed:
            is_unplugged = self._pilot.state == pilot.IDLE
            is_late = now_ms - self._allowed_ms >= self._settings.get("plug_ms")
            # Unplugging and faults end what was allowed.
            if not self._pilot.is_allowed or (is_unplugged and is_late):
                self._end()
        if self._meter.energy_wh - self._kept_wh >= KEEP_WH:
            self._keep()
        if self._pilot.is_closed:
            return CHARGING_MS
        return IDLE_MS if self._pilot.state == pilot.IDLE else PLUGGED_MS

    def _end(self) -> None:
        """Nobody holds the socket any more."""
        self._pilot.deny()
        used_wh = self._meter.energy_wh - self._began_wh
        self._log.write(log_ring.INFO, f"session over: {used_wh} Wh")
        self._holder = b""
        self._keep()

    def _keep(self) -> None:
        if self._meter.energy_wh != self._kept_wh:
            self._notes.write(cbor.encode(self._meter.energy_wh))
            self._kept_wh = self._meter.energy_wh

    def is_moving(self, now_ms: int) -> bool:
        """Whether a car charges: its pilot must be looked at, so there is no time for anything slow."""
        return self._pilot.is_closed

    def can_sleep(self, now_ms: int) -> bool:
        """A station is on mains."""
        return False

    def _step(self) -> None:
        # The timer comes between any two steps of the program, and must not come into the middle of this one.
        if self._is_busy:
            return
        self._is_busy = True
        try:
            # The timer may have looked since the caller did: for the pilot, time that runs back is a gap.
            self._sense(self._clock())
        except Exception:
            # Whatever it is, nothing may go on by itself.
            self._contactor.close(False)
            raise
        finally:
            self._is_busy = False

    def _sense(self, now_ms: int) -> None:
        gauge = self._meter
        if self._modbus is not None:
            is_news, register_wh = self._modbus.poll(now_ms)
            if is_news:
                gauge.read(register_wh, now_ms)
        upper_mv, lower_mv = self._port.levels()
        if self._pulses is not None:
            gauge.count(self._pulses.take(), now_ms)
        drive = self._pilot.tick(Levels(upper_mv, lower_mv, self._contactor.is_live(), gauge.is_fine), now_ms)
        # What could hurt first.
        self._contactor.close(drive.is_closed)
        self._port.set_duty(drive.duty_ppm)
        gauge.watch(drive.is_closed, now_ms)
        self._watch()

    def _watch(self) -> None:
        """The timer looks while a car charges; what has changed is logged."""
        if self._pilot.is_closed:
            if self._timer is None:
                self._timer = hal.every(CHARGING_MS, self._wake)
        elif self._timer is not None:
            self._timer.deinit()
            self._timer = None
        said = self._pilot.state, self._pilot.fault, self._meter.fault
        if said != self._said:
            self._said = said
            faults = pilot.FAULTS[said[1]] + " " + meter.FAULTS[said[2]]
            level = log_ring.INFO if faults == " " else log_ring.WARNING
            self._log.write(level, f"socket {pilot.NAMES[said[0]]} {faults}".strip())

    def _wake(self, timer: object) -> None:
        self._step()
