"""The radio's side of a board with a radio and sessions that do the worst they can, on a real MicroPython."""

import os
import subprocess

from tests.micropython import ROOT, need_micropython

CODE = """
from devices.micropython import gatt
from devices.micropython.link_frame import Splitter

class Radio:
    is_full = True
    def active(self, is_on): pass
    def config(self, **values): pass
    def irq(self, handler): self.told = handler
    def gatts_register_services(self, services): return ((1, 2, 3),)
    def gatts_set_buffer(self, handle, size, is_append): pass
    def gatts_write(self, handle, value): pass
    def gatts_read(self, handle): return self.written
    def gap_advertise(self, *what): pass
    def gap_disconnect(self, number): pass
    def gatts_notify(self, number, handle, data):
        if self.is_full:
            raise OSError(12)

class Session:
    state = "proved"
    count = 0
    def receive(self, data, now_ms):
        self.count += 1
        return bytes(1000)
    def tick(self, now_ms): return b""
    def leave(self): self.state = "over"

class Device:
    class role: KIND = "lock"
    class answerer: is_ending = False
    class keys: pairing = None
    def random(self, count): return bytes(count)
    def connect(self, sender, now_ms): return session

gatt.advert.hint = lambda pairing, salt: bytes(4)
session, radio = Session(), Radio()
server = gatt.Server(radio, Device(), lambda: 0)
server.start()
radio.told(1, (7, 0, bytes(6)))
splitter = Splitter()

def ask():
    (radio.written,) = splitter.split(b"request", 20)
    radio.told(3, (7, 1))

radio.is_full = False
for _ in range(3):
    ask()
    server.turn()
print(session.count, session.state)
radio.is_full = True
for _ in range(30):
    ask()
server.turn()
print(session.count, session.state, len(server._links[7].frames))
"""


def test_who_asks_on_and_takes_no_answers_is_hung_up_on_before_the_memory_is_full() -> None:
    done = subprocess.run(
        [*need_micropython(), "-X", "heapsize=1m", "-c", CODE],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "MICROPYPATH": f"{ROOT / 'hil' / 'micropython'}:{ROOT}:.frozen"},
        check=False,
    )
    # One answer of 1,000 bytes waits, in frames of 20.
    assert done.stdout.split("\n") == ["3 proved", "4 over 56", ""], done.stdout
