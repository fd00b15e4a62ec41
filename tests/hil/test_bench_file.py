"""A bench's file says what there is, and each mistake in it is named with its line and field."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hil
from hil.bench_file import Bench, BenchBoard, parse
from hil.errors import BenchFileError

EXAMPLE = (Path(hil.__path__[0]) / "bench.toml.example").read_text()


def test_the_example_is_read_as_it_says() -> None:
    bench = parse(EXAMPLE)
    lock, sensor = bench.boards
    assert (lock.name, lock.role, lock.baud, lock.reset) == ("lock1", "lock", 115_200, "rts")
    assert lock.power_off == "uhubctl --location 1-1 --ports 2 --action off"
    assert lock.address == "24:0A:C4:00:11:22"
    assert dict(lock.world) == {
        "car_arrives": "python3 servo.py plate in",
        "car_leaves": "python3 servo.py plate out",
    }
    assert sensor == BenchBoard("sensor1", "sensor", address="24:0A:C4:00:11:33")
    assert bench.adapter == "hci0"


def test_the_smallest_file_is_one_board() -> None:
    assert parse('[[board]]\nname = "a"\nrole = "lock"') == Bench("bench.toml", (BenchBoard("a", "lock"),))


BOARD = '[[board]]\nname = "lock1"\nrole = "lock"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bench.toml: board: there is no board; describe at least one under [[board]]"),
        ("[board]\nname = 'a'", "bench.toml:1: board: there is no board; describe at least one"),
        ("[[board]]\nrole = 'lock'", "bench.toml:1: name: is missing; give a name of your choice"),
        ("[[board]]\nname = 'Lock 1'", "bench.toml:2: name: 'Lock 1' is not of 1 to 32 of a-z, 0-9, - and _"),
        ("[[board]]\nname = 'a'\nrole = 'gate'", "bench.toml:3: role: 'gate' is not one of lock, charger"),
        (BOARD + "baud = '9600'", "bench.toml:4: baud: '9600' is no speed; a number of 300 to 4000000"),
        (BOARD + "serial = 7", "bench.toml:4: serial: 7 is no text; give text in quotes"),
        (BOARD + "seriall = '/dev/x'", "bench.toml:4: seriall: is not known here; there are name, role, "),
        (BOARD + "power_on = 'relay 1'", "bench.toml:4: power_on: has no use without power_off; give both"),
        (BOARD + "power_off = 'relay 0'", "bench.toml:4: power_off: has no use without power_on; give both"),
        (BOARD + "reset = 'rts'", "bench.toml:4: reset: `rts` is a line of the serial port; give serial"),
        (BOARD + "reset = 'relay \"3'", "bench.toml:4: reset: is no command: No closing quotation"),
        (BOARD + "address = '24:0A'", "bench.toml:4: address: '24:0A' is not of the form 24:0A:C4:00:11:22"),
        (BOARD + "[board.world]\ncar = 3", "bench.toml:5: car: 3 is no text"),
        (BOARD + "\n" + BOARD, "bench.toml:6: name: 'lock1' is the name of another board, too"),
        (
            BOARD + "serial='/dev/a'\n" + BOARD.replace("lock1", "lock2") + "serial='/dev/a'",
            "bench.toml:8: serial: /dev/a is another board's console, too",
        ),
        (BOARD + "radio = 1", "bench.toml:4: radio: is not known here"),
        (BOARD + "[radio]\nadaptor = 'hci0'", "bench.toml:5: adaptor: is not known here; there are adapter"),
        ("[[board]\n", "bench.toml:1: is not TOML: "),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_field(text: str, message: str) -> None:
    with pytest.raises(BenchFileError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


@given(st.data())
def test_a_damaged_file_is_read_or_refused_by_name(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(EXAMPLE) - 1))
    length = data.draw(st.integers(0, 40))
    text = EXAMPLE[:at] + data.draw(st.text(max_size=4)) + EXAMPLE[at + length :]
    try:
        bench = parse(text)
    except BenchFileError:
        return
    assert [board.name for board in bench.boards] == [table["name"] for table in tomllib.loads(text)["board"]]
