"""A car's values as a source: `obd:/dev/ttyUSB0`, `obd:tcp://192.168.0.10:35000`, `obd+can:can0`.

Runs on CPython.  One thread holds the link, asks what is due and hands readings to the event loop:

    {"pid": "010C", "name": "engine_speed", "value": 812.5, "unit": "rpm", "ecu": "7E8", "raw": b".."}

`raw` is what the ECU sent, so a value can be computed anew when a formula turns out wrong.  Trouble codes
come as pid "03", "07" and "0A", the VIN as "0902".  A link that is lost is opened again, ever more slowly,
for ever; a car that is switched off is asked again until it answers.  Both are gaps.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from gateway.sensors.obd_links import Closed, Link, open_link
from gateway.sensors.obd_wishes import Wishes, usual_period_ms, wishes_of
from gateway.sensors.reading_queue import QUEUE_READINGS, ReadingQueue
from gateway.sensors.source import Batch, Clock, Source, SourceStats, SourceUnavailable, SourceUrl
from obd import services
from obd.discovery import (
    Car,
    Reading,
    discover,
    hold,
    read_dtcs,
    read_table_value,
    read_vehicle,
    readings_of,
    request_for,
    rescaled,
)
from obd.errors import NoAnswer, ResponseError
from obd.pids import fields_of, size_of
from obd.query import ANSWERED, NO_CAR, NO_DATA, Query, ecu_name
from obd.scheduler import Item, Scheduler
from obd.value_table import TableValue

OPTIONS = ("baud", "dtc_period_ms", "pids", "protocol", "queue", "table", "wait")
"""Of `obd:`."""
CAN_OPTIONS = ("bits", "dtc_period_ms", "interface", "pids", "queue", "table", "wait")
"""Of `obd+can:`."""
BATCH_MS = 50
"""Readings that come within this time make one batch."""
HAND_OVER_MS = 50
"""The thread hands over what it has so often."""
HAND_OVER_READINGS = 200
BACK_OFF_MS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Waits between attempts to open a lost link; the last one for ever."""
CAR_BACK_OFF_MS = (1_000, 2_000, 5_000, 10_000, 30_000)
"""Waits between questions to a car that is switched off."""
SILENT_MAX = 20
"""Queries in a row without any answer: then the car is looked for anew."""
REPORT_PERIOD_MS = 60_000


def reading_values(reading: Reading) -> list[dict[str, Any]]:
    """A reading as records."""
    ecu = ecu_name(reading.ecu)
    name = f"01{reading.pid:02X}"
    return [
        {
            "pid": name,
            "name": value.field.key,
            "value": value.value,
            "unit": value.field.unit_text,
            "ecu": ecu,
            "raw": reading.data,
        }
        for value in reading.values
    ]


class ObdSource(Source):
    """One car behind one link."""

    kind = "reading"

    def __init__(
        self,
        name: str,
        link: Link,
        clock: Clock,
        wishes: Wishes | None = None,
        *,
        queue_readings: int = QUEUE_READINGS,
        must_be_there: bool = True,
        back_off_ms: tuple[int, ...] = BACK_OFF_MS,
        car_back_off_ms: tuple[int, ...] = CAR_BACK_OFF_MS,
    ) -> None:
        """must_be_there: raise SourceUnavailable when the link cannot be opened, now."""
        super().__init__(name)
        self.link = link
        self._clock = clock
        self._wishes = wishes or Wishes()
        self._queue_readings = queue_readings
        self._back_off_ms = back_off_ms
        self._car_back_off_ms = car_back_off_ms
        self._thread: threading.Thread | None = None
        self._is_open = False
        self.worker: Worker | None = None
        """What the thread does, and knows about the car; for status displays."""
        if must_be_there:
            link.open()
            self._is_open = True

    async def batches(self) -> AsyncIterator[Batch]:
        """Batches until the source is closed."""
        loop = asyncio.get_running_loop()
        queue = ReadingQueue(self.stats, self._queue_readings, self.overrun)

        def post(call: Callable[[], None]) -> None:
            # A loop that has gone takes the reader with it.
            try:
                loop.call_soon_threadsafe(call)
            except RuntimeError:
                self.link.stop.set()

        worker = self.worker = Worker(
            self.link,
            self._wishes,
            self._clock,
            self.stats,
            queue,
            post,
            self._back_off_ms,
            self._car_back_off_ms,
        )
        self._thread = threading.Thread(
            target=worker.run, args=(self._is_open,), name=f"{self.link.label}", daemon=True
        )
        self._thread.start()
        try:
            while True:
                await queue.wait_for_batch(self._clock, BATCH_MS)
                batch = queue.take()
                if batch is None:
                    if worker.error is not None:
                        raise worker.error
                    return
                if batch.values or batch.gaps:
                    yield batch
        finally:
            await self.close()

    async def close(self) -> None:
        """Stops asking and releases the link; what had arrived can still be taken."""
        self.link.stop.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            await asyncio.to_thread(thread.join)
        elif thread is None:
            self.link.close()


class Worker:
    """The thread: opens, discovers, asks, and begins anew whatever happens."""

    def __init__(
        self,
        link: Link,
        wishes: Wishes,
        clock: Clock,
        stats: SourceStats,
        queue: ReadingQueue,
        post: Callable[[Callable[[], None]], None],
        back_off_ms: tuple[int, ...],
        car_back_off_ms: tuple[int, ...],
    ) -> None:
        """post: runs a function in the event loop."""
        self.link = link
        self.error: BaseException | None = None
        """A bug, for whoever reads."""
        self.car: Car | None = None
        self.scheduler: Scheduler | None = None
        self._wishes = wishes
        self._clock = clock
        self._stats = stats
        self._queue = queue
        self._post = post
        self._back_off_ms = back_off_ms
        self._car_back_off_ms = car_back_off_ms
        self._requests: dict[tuple[int, ...], Query] = {}
        """Of the car that is asked now, by PIDs; the same few are asked again and again."""
        self._pending: list[tuple[int, list[dict[str, Any]]]] = []
        self._pending_count = 0
        self._handed_ms = 0
        self._down_ns: int | None = None

    def run(self, is_open: bool) -> None:
        """Until the link is told to stop."""
        attempt = 0
        stop = self.link.stop
        try:
            while not stop.is_set():
                try:
                    if not is_open:
                        self.link.open()
                    is_open = True
                    attempt = 0
                    self._drive()
                except Closed:
                    break
                except SourceUnavailable as error:
                    is_open = False
                    self.link.close()
                    self._lost(f"{self.link.label} is lost: {error.reason}")
                    stop.wait(self._back_off_ms[min(attempt, len(self._back_off_ms) - 1)] / 1000)
                    attempt += 1
        except BaseException as error:
            self.error = error
        finally:
            self.link.close()
            self._hand_over()
            self._post(self._queue.end)

    # What is lost and found

    def _lost(self, reason: str) -> None:
        """Nothing comes from now on."""
        self._hand_over()
        if self._down_ns is None:
            now_ns = self._down_ns = self._clock.now_ns()
            self._post(lambda: self._queue.lost(reason, 0, now_ns, now_ns))

    def _found(self) -> None:
        """Readings can come again."""
        if self._down_ns is None:
            return
        down_ns, self._down_ns = self._down_ns, None
        now_ns = self._clock.now_ns()
        reason = f"{self.link.label} answers again"
        self._post(lambda: self._queue.lost(reason, 0, down_ns, now_ns))

    def _put(self, values: list[dict[str, Any]]) -> None:
        if values:
            self._pending.append((self._clock.now_ns(), values))
            self._pending_count += len(values)

    def _hand_over(self) -> None:
        pending, self._pending = self._pending, []
        self._pending_count = 0
        self._handed_ms = self._now_ms()
        if pending:

            def deliver() -> None:
                for taken_ns, values in pending:
                    self._queue.put(taken_ns, values)

            self._post(deliver)

    def _damaged(self, reason: str) -> None:
        self._hand_over()
        now_ns = self._clock.now_ns()
        self._post(lambda: self._queue.damaged(reason, 1, now_ns))

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    # Asking

    def _drive(self) -> None:
        """Looks for the car, and asks it until it or the link is lost."""
        attempt = 0
        while not self.link.stop.is_set():
            try:
                car = self.car = hold(discover(), self.link.ask)
                # The VIN tells a reader whose data this is; a car that is driven may be another one by now.
                vehicle = hold(read_vehicle(), self.link.ask)
            except NoAnswer as error:
                self._lost(f"the car does not answer: {error}")
                self.link.stop.wait(
                    self._car_back_off_ms[min(attempt, len(self._car_back_off_ms) - 1)] / 1000
                )
                attempt += 1
                continue
            attempt = 0
            self._found()
            self._put(
                [
                    {"pid": "0902", "name": "vin", "value": vin, "unit": "", "ecu": ecu_name(ecu)}
                    for ecu, vin in vehicle.vins.items()
                ]
            )
            self._ask_on(car)

    def _items(self, car: Car) -> list[Item]:
        wishes = self._wishes
        periods_ms = wishes.periods_ms or {pid: usual_period_ms(pid) for pid in car.pids if fields_of(pid)}
        items = []
        for pid, period_ms in periods_ms.items():
            if pid in car.pids:
                # Only PIDs of one ECU go together: then it is known when the answer is complete.
                owners = car.owners(pid)
                is_alone = len(owners) > 1 or not car.takes_many
                items.append(Item(pid, period_ms, None if is_alone else owners[0], 1 + size_of(pid)))
            else:
                self._stats.note(f"the car has no PID {pid:02X}")
        items += [Item(value, value.period_ms, None, 1) for value in wishes.table]
        if wishes.dtc_period_ms:
            items.append(Item("dtc", wishes.dtc_period_ms, None, 1))
        return items

    def _ask_on(self, car: Car) -> None:
        """Asks what is due, until the car falls silent."""
        scheduler = self.scheduler = Scheduler(self._items(car), self._now_ms())
        self._requests.clear()
        silent = 0
        reported_ms = self._now_ms()
        while not self.link.stop.is_set():
            begin_ms = self._clock.monotonic_ns() / 1e6
            keys = scheduler.pick(begin_ms, services.PIDS_PER_REQUEST_MAX, self.link.answer_bytes)
            if not keys:
                self._hand_over()
                wait_ms = scheduler.wait_ms(begin_ms)
                self.link.stop.wait((1_000 if wait_ms is None else min(wait_ms, 1_000)) / 1000)
                continue
            problem = self._ask(car, keys)
            end_ms = self._clock.monotonic_ns() / 1e6
            if not problem:
                scheduler.done(end_ms - begin_ms, len(keys))
            silent = silent + 1 if problem else 0
            if problem == NO_CAR or silent >= SILENT_MAX:
                self._lost(f"the car does not answer: {problem}")
                return
            if self._pending_count >= HAND_OVER_READINGS or end_ms - self._handed_ms >= HAND_OVER_MS:
                self._hand_over()
            if end_ms - reported_ms >= REPORT_PERIOD_MS:
                reported_ms = int(end_ms)
                self._report(scheduler)

    def _ask(self, car: Car, keys: list[Any]) -> str:
        """One query; returns what was wrong with it, or nothing."""
        first = keys[0]
        try:
            if isinstance(first, int):
                return self._ask_pids(car, keys)
            if isinstance(first, TableValue):
                for ecu, data, value in hold(read_table_value(first), self.link.ask):
                    self._put(
                        [
                            {
                                "pid": f"22{first.did:04X}",
                                "name": first.name,
                                "value": value,
                                "unit": first.unit,
                                "ecu": ecu_name(ecu),
                                "raw": data,
                            }
                        ]
                    )
                return ANSWERED
            codes = hold(read_dtcs(), self.link.ask)
        except NoAnswer as error:
            return error.problem
        except ResponseError as error:
            self._stats.note(f"{first if isinstance(first, str) else first.name}: {error}")
            return ANSWERED
        for pid, name, found in (
            ("03", "dtc_stored", codes.stored),
            ("07", "dtc_pending", codes.pending),
            ("0A", "dtc_permanent", codes.permanent),
        ):
            self._put(
                [
                    {"pid": pid, "name": name, "value": texts, "unit": "", "ecu": ecu_name(ecu)}
                    for ecu, texts in found.items()
                ]
            )
        return ANSWERED

    def _ask_pids(self, car: Car, pids: list[int]) -> str:
        key = tuple(pids)
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = request_for(car, pids)
        outcome = self.link.ask(request)
        readings, problems = readings_of(outcome.answers)
        for reading in rescaled(readings, car.scales):
            self._put(reading_values(reading))
        for problem in problems:
            self._damaged(problem)
        if outcome.problem and outcome.problem not in (NO_DATA, NO_CAR):
            self._damaged(f"{outcome.problem}: {outcome.detail}" if outcome.detail else outcome.problem)
        return str(outcome.problem)

    def _report(self, scheduler: Scheduler) -> None:
        if scheduler.stretch > 1.1:
            self._stats.note(
                f"{scheduler.wanted_per_s:.0f} values a second are wanted, the way to the car manages "
                f"{scheduler.capacity_per_s:.0f}: each is asked {scheduler.stretch:.1f} times more seldom"
            )


def open_obd(url: SourceUrl, name: str, clock: Clock) -> ObdSource:
    """Opens `obd:` and `obd+can:`.  Raises SourceError."""
    wishes = wishes_of(url)
    response_ids = [value.target.response_id for value in wishes.table if value.target is not None]
    return ObdSource(
        name,
        open_link(url, clock, response_ids),
        clock,
        wishes,
        queue_readings=url.number("queue", QUEUE_READINGS, 1, 10**7),
        must_be_there=url.choice("wait", ("0", "1"), "0") == "0",
    )
