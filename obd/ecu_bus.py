"""A simulated car on a CAN bus: frames in, frames out.

Runs on CPython.  Each ECU listens to its own id and to the one for everybody, and answers by ISO-TP.
Source: ISO 15765-4:2016.
"""

from __future__ import annotations

from collections import deque

from obd.action import Action
from obd.can_frame import EXTENDED, CanFrame
from obd.ecu import Ecu, SimulatedCar
from obd.ecu_adapter import request_id, response_id
from obd.isotp import IDLE, IsoTp, Received, Transmit
from obd.isotp_address import normal
from obd.query import EVERYBODY_11_BIT, EVERYBODY_29_BIT


class _Node:
    """An ECU's end of the bus."""

    def __init__(self, ecu: Ecu, is_29_bit: bool, block_size: int, st_min_code: int) -> None:
        mine, its = response_id(ecu, is_29_bit), request_id(ecu, is_29_bit)
        everybody = EVERYBODY_29_BIT if is_29_bit else EVERYBODY_11_BIT
        self.ecu = ecu
        self.physical = IsoTp(
            normal(mine, its, is_29_bit), padding=0, block_size=block_size, st_min_code=st_min_code
        )
        self.functional = IsoTp(normal(mine, everybody, is_29_bit, is_functional=True), padding=0)
        self.waiting: deque[bytes] = deque()
        """Answers that follow once the one before is out."""


class SimulatedBusCar:
    """The car as a participant of a bus.  Call `tick` at `deadline_us`."""

    def __init__(
        self, car: SimulatedCar, *, is_29_bit: bool = False, block_size: int = 0, st_min_code: int = 0
    ) -> None:
        self.car = car
        self._is_29_bit = is_29_bit
        self._nodes = [_Node(ecu, is_29_bit, block_size, st_min_code) for ecu in car.ecus]

    @property
    def deadline_us(self) -> int | None:
        """When `tick` is to be called, or None."""
        dues = [node.physical.deadline_us for node in self._nodes]
        return min((due for due in dues if due is not None), default=None)

    def receive(self, frame: CanFrame, now_us: int) -> list[CanFrame]:
        """Frames that the car sends in answer to one."""
        if bool(frame.flags & EXTENDED) != self._is_29_bit:
            return []
        sent: list[CanFrame] = []
        for node in self._nodes:
            for end in (node.functional, node.physical):
                if end.address.accepts(frame):
                    is_functional = end is node.functional
                    sent += self._follow(node, end.receive(frame, now_us), now_us, is_functional)
        return sent

    def tick(self, now_us: int) -> list[CanFrame]:
        """Frames that are due."""
        sent: list[CanFrame] = []
        for node in self._nodes:
            sent += self._follow(node, node.physical.tick(now_us), now_us, False)
        return sent

    def _follow(self, node: _Node, actions: list[Action], now_us: int, is_functional: bool) -> list[CanFrame]:
        sent: list[CanFrame] = []
        for action in actions:
            if isinstance(action, Transmit):
                sent.append(action.frame)
            elif isinstance(action, Received):
                node.waiting.extend(
                    self.car.answers(node.ecu, action.data, now_us // 1000, is_functional=is_functional)
                )
        while node.waiting and node.physical.tx_state == IDLE:
            for action in node.physical.send(node.waiting.popleft(), now_us):
                if isinstance(action, Transmit):
                    sent.append(action.frame)
        return sent
