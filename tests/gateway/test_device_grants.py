"""Grants of a site: keys that devices tell, epochs that never come again, numbers that are used once."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices.micropython import commands
from gateway import device_pass
from gateway.device_grants import FILE_NAME, Grants, NoGrantKey
from gateway.device_pass import DevicePass, PassError
from gateway.devices import ENROLLED, Device, DeviceDamaged, Devices
from puf.errors import GrantError
from puf.grant import CLOSE, OPEN
from tests.devices.boards import GATEWAY, ME, Board
from tests.devices.test_session import CAR, DEVICE, FIRST, TIME_MS, owner, strong, visitor
from tests.gateway.enrolling import open_devices

LOCK = Device(
    *(b"i" * 16, "lock1", ENROLLED, False, 0x50000000, 672, b"", b"", ME, 1, "{}", 0, None, None),
)


class Line:
    """The gateway on the line with a board."""

    def __init__(self, board: Board) -> None:
        self.peer = owner(board.keys.pairing if board.keys.pairing.epoch else FIRST, seed=board.random._count)
        self.peer.connect(board)
        self.asked: list[int] = []
        self.lost_at = -1

    async def ask(self, command: int, *arguments: object) -> list[Any]:
        self.asked.append(command)
        answer = self.peer.ask(command, *arguments)
        if len(self.asked) == self.lost_at:
            raise ConnectionResetError
        return answer


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    with open_devices(tmp_path) as devices:
        yield devices


@pytest.fixture
def grants(tmp_path: Path, devices: Devices) -> Iterator[Grants]:
    with Grants(tmp_path / FILE_NAME, devices, GATEWAY) as grants:
        yield grants


def meet(grants: Grants, line: Line) -> None:
    asyncio.run(grants.meet(LOCK, line, lambda: TIME_MS))


def issue(grants: Grants, actions: int = OPEN) -> tuple[int, bytes]:
    begin_ms = TIME_MS - TIME_MS % 1_000
    made, data = grants.issue(
        LOCK, CAR.public, actions, begin_ms, begin_ms + 60_000, b"e" * 32, 5_000_000, TIME_MS
    )
    return made.grant_id, data


def test_a_device_tells_its_key_once_and_takes_what_is_issued_with_it(grants: Grants) -> None:
    board = strong()
    with pytest.raises(NoGrantKey, match="cpc device state lock1"):
        issue(grants)
    line = Line(board)
    meet(grants, line)
    assert line.asked == [8, 8, 2, 2]
    meet(grants, line)
    assert line.asked[4:] == [8, 2, 2]
    number, data = issue(grants)
    car = visitor().connect(board)
    assert car.ask(commands.GRANT, OPEN, data) == []
    assert (number, [issue(grants)[0] for _ in range(3)]) == (0, [1, 2, 3])
    first = grants.issued(LOCK)[0]
    assert (first.number, first.epoch, first.subject, first.actions) == (0, 1, CAR.public, OPEN)
    assert (first.deposit, first.amount_ucpc, first.issued_ms) == (b"e" * 32, 5_000_000, TIME_MS)


@pytest.mark.parametrize("lost_at", [1, 2, 3, 4])
def test_a_link_that_is_lost_in_between_leaves_both_able_to_go_on(grants: Grants, lost_at: int) -> None:
    board = strong()
    line = Line(board)
    line.lost_at = lost_at
    with pytest.raises(ConnectionResetError):
        meet(grants, line)
    line.peer.leave()
    meet(grants, Line(board))
    # An answer that was lost has cost an epoch, and no more.
    assert board.keys.grant_epoch == (2 if lost_at == 2 else 1)
    assert visitor().connect(board).ask(commands.GRANT, OPEN, issue(grants)[1]) == []


def test_a_device_that_forgot_used_grants_or_a_gateway_that_forgot_its_keys_begins_a_later_epoch(
    tmp_path: Path, devices: Devices, grants: Grants
) -> None:
    board = strong()
    meet(grants, Line(board))
    old = issue(grants)[1]
    board.flash.notes.pop("grants-50000000")
    board.start()
    meet(grants, Line(board))
    assert board.keys.grant_epoch == 2
    with pytest.raises(Exception, match="revoked"):
        visitor().connect(board).ask(commands.GRANT, OPEN, old)
    with Grants(tmp_path / "new.sqlite", devices, GATEWAY) as anew:
        meet(anew, Line(board))
    assert board.keys.grant_epoch == 3


def test_a_device_that_restarted_says_where_numbers_go_on(grants: Grants) -> None:
    board = strong()
    meet(grants, Line(board))
    issue(grants)
    assert visitor().connect(board).ask(commands.GRANT, OPEN, issue(grants, OPEN | CLOSE)[1]) == []
    board.start()
    meet(grants, Line(board))
    number, data = issue(grants)
    assert board.keys._window is not None
    assert number == board.keys._window.floor > 100
    assert visitor(seed=9).connect(board).ask(commands.GRANT, OPEN, data) == []


def test_keys_lie_sealed_and_belong_to_their_device(tmp_path: Path, grants: Grants) -> None:
    board = strong()
    meet(grants, Line(board))
    key = board.keys.grant_key(1)
    assert all(key not in path.read_bytes() for path in tmp_path.iterdir())
    other = replace(LOCK, ident=b"j" * 16)
    grants._connection.execute("UPDATE grant_key SET ident = ?", (other.ident,))
    with pytest.raises(DeviceDamaged):
        grants.issue(other, CAR.public, OPEN, 0, 1_000, b"", 0, 0)
    grants._connection.execute("UPDATE grant_key SET ident = ?", (LOCK.ident,))
    (question,) = Line(board).peer.ask(commands.TIME)
    assert isinstance(question, bytes)
    with pytest.raises(GrantError):
        grants.answer_time(LOCK, question[:-1] + bytes([question[-1] ^ 1]), TIME_MS)


def test_a_pass_comes_back_and_every_damage_to_its_form_is_an_error() -> None:
    made = DevicePass("lock1", ME, DEVICE, GATEWAY, b"grant")
    data = made.encode()
    assert data.hex().startswith("876f6370632f6465766963652d7061737301656c6f636b31")
    assert device_pass.decode(data) == made
    for size in range(len(data)):
        with pytest.raises(PassError):
            device_pass.decode(data[:size])
    for bit in range(8 * 18):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PassError):
            device_pass.decode(bytes(damaged))
