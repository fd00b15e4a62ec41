"""ISO-TP: messages of up to 4 GiB over CAN frames of 8 to 64 bytes.

Runs on CPython and MicroPython.  One `IsoTp` is one conversation: our address and a peer's.  Frames and
the clock go in, actions come out: frames to transmit, whole messages, results.  Both directions are
independent.  Times are microseconds of any steady clock, because STmin has steps of 100.
Source: ISO 15765-2:2016, sections 8 to 10; its names are kept (N_Bs, N_Cr, STmin, BS, FS).

    sender    IDLE --send, one frame--> IDLE          receiver  IDLE --SF--> IDLE
              IDLE --send, FF-------> WAIT_FC                   IDLE --FF, too long--> IDLE (FC overflow)
              WAIT_FC --FC CTS------> SENDING                   IDLE --FF--> COLLECTING (FC CTS)
              WAIT_FC --FC WAIT-----> WAIT_FC                   IDLE --FF, paused--> PAUSED (FC WAIT ..)
              SENDING --block done--> WAIT_FC                   PAUSED --resume--> COLLECTING (FC CTS)
              SENDING --all sent----> IDLE                      COLLECTING --last CF--> IDLE
              any --FC bad, N_Bs----> IDLE, Failed              any --wrong SN, N_Cr--> IDLE, Failed
"""

from collections import namedtuple

from obd.action import Action
from obd.can_frame import BITRATE_SWITCH, FD, FD_LENGTHS, CanFrame
from obd.errors import AddressError, MessageTooLong, NotReady
from obd.isotp_address import Address

IDLE, WAIT_FC, SENDING = "idle", "wait for flow control", "sending"
COLLECTING, PAUSED = "collecting", "paused"

# Results of the standard, section 8.3.7.
N_TIMEOUT_BS = "N_TIMEOUT_Bs"
"""The receiver sent no flow control in time."""
N_TIMEOUT_CR = "N_TIMEOUT_Cr"
"""The sender sent no consecutive frame in time."""
N_WRONG_SN = "N_WRONG_SN"
"""A consecutive frame is missing or came twice."""
N_INVALID_FS = "N_INVALID_FS"
"""A flow control that means nothing."""
N_UNEXP_PDU = "N_UNEXP_PDU"
"""A new message began before the last was complete; the new one is taken."""
N_WFT_OVRN = "N_WFT_OVRN"
"""More WAIT frames than allowed."""
N_BUFFER_OVFLW = "N_BUFFER_OVFLW"
"""The receiver has no room for the message."""

CTS, WAIT, OVERFLOW = 0, 1, 2
"""Flow status: clear to send, wait, overflow."""

SIZE_12_BIT_MAX = 4095
SIZE_32_BIT_MAX = 0xFFFFFFFF
N_BS_US = 1_000_000
N_CR_US = 1_000_000
WAIT_EVERY_US = 500_000
"""A paused receiver repeats WAIT so often; N_Br must stay below the sender's N_Bs."""
WAIT_MAX = 10
"""N_WFTmax: WAIT frames in a row that a sender takes, and that a paused receiver sends."""
BURST_FRAMES = 16
"""Consecutive frames given out by one call, so that a long message does not starve other work."""
PAD = 0xCC
"""The standard's own choice: no stuff bits."""
ST_MIN_RESERVED_US = 127_000
"""What a reserved STmin code means: the longest of them all (section 9.6.5.5)."""


class Transmit(namedtuple("Transmit", ("frame",)), Action):
    """Put this frame on the bus, in order."""

    __slots__ = ()
    KIND = "transmit"


class Received(namedtuple("Received", ("data",)), Action):
    """A whole message has come."""

    __slots__ = ()
    KIND = "received"


class Sent(namedtuple("Sent", ("size",)), Action):
    """The last frame of a message of so many bytes was given out."""

    __slots__ = ()
    KIND = "sent"


class Failed(namedtuple("Failed", ("is_sending", "result", "detail")), Action):
    """A message was given up.  is_sending: ours, else the peer's; result: N_..; detail: for a person."""

    __slots__ = ()
    KIND = "failed"


def st_min_us(code: int) -> int:
    """Pause between consecutive frames that a code of STmin asks for (section 9.6.5.4)."""
    if code <= 0x7F:
        return code * 1000
    if 0xF1 <= code <= 0xF9:
        return (code - 0xF0) * 100
    return ST_MIN_RESERVED_US


class IsoTp:
    """One conversation.  Call `receive` for frames, `tick` at `deadline_us`, and do what they return."""

    def __init__(
        self,
        address: Address,
        *,
        tx_dl: int = 8,
        is_fd: bool = False,
        padding: "int | None" = PAD,
        block_size: int = 0,
        st_min_code: int = 0,
        size_max: int = SIZE_12_BIT_MAX,
        wait_max: int = WAIT_MAX,
        n_bs_us: int = N_BS_US,
        n_cr_us: int = N_CR_US,
        is_listening: bool = False,
    ) -> None:
        """tx_dl: bytes of our longest frame.  padding: fills classic frames up to 8 bytes; None: frames
        are as short as they can be.  block_size, st_min_code: what our flow control asks of the peer.
        size_max: longest message taken.  is_listening: take messages, transmit nothing."""
        if tx_dl not in FD_LENGTHS[8:] or (tx_dl > 8 and not is_fd):
            raise AddressError(f"tx_dl {tx_dl}: allowed are 8, and with FD {FD_LENGTHS[9:]}")
        if not 0 <= block_size <= 255 or not 0 <= st_min_code <= 255:
            raise AddressError("block size and STmin are one byte each")
        self.address = address
        self._tx_flags: int = address.flags | (FD | BITRATE_SWITCH if is_fd else 0)
        self._tx_prefix = b"" if address.tx_prefix is None else bytes((address.tx_prefix,))
        self._skip = 0 if address.rx_prefix is None else 1
        self._tx_dl = tx_dl
        self._is_fd = is_fd
        self._padding = padding
        self._flow_control = bytes((block_size, st_min_code))
        self._block_size = block_size
        self._size_max = size_max
        self._wait_max = wait_max
        self._n_bs_us = n_bs_us
        self._n_cr_us = n_cr_us
        self._is_listening = is_listening
        self.is_paused = False
        """No room at the moment: the next first frame, or end of a block, is answered by WAIT.  Set it
        freely; clear it by `resume`."""
        self.tx_state = IDLE
        self.rx_state = IDLE
        self._tx_due_us: int | None = None
        self._rx_due_us: int | None = None
        self._tx_data = b""
        self._tx_at = 0
        self._tx_number = 0
        self._tx_block_left = 0
        self._tx_has_blocks = False
        self._tx_pause_us = 0
        self._tx_waits = 0
        self._rx_data = bytearray()
        self._rx_size = 0
        self._rx_number = 0
        self._rx_block_left = 0
        self._rx_dl = 8
        self._rx_waits = 0

    @property
    def single_frame_max(self) -> int:
        """Bytes that go without flow control."""
        pci = 1 if self._tx_dl == 8 else 2
        return self._tx_dl - pci - len(self._tx_prefix)

    @property
    def deadline_us(self) -> "int | None":
        """When `tick` is to be called, or None."""
        if self._tx_due_us is None:
            return self._rx_due_us
        if self._rx_due_us is None or self._tx_due_us < self._rx_due_us:
            return self._tx_due_us
        return self._rx_due_us

    # Sending

    def send(self, data: bytes, now_us: int) -> list[Action]:
        """Begins a message.  Raises MessageTooLong, and NotReady while the last one is on its way."""
        if self.tx_state != IDLE:
            raise NotReady(f"the last message is not out yet: {self.tx_state}")
        size = len(data)
        single_max = self.single_frame_max
        size_max = single_max if self.address.is_functional else SIZE_32_BIT_MAX
        if not 1 <= size <= size_max:
            raise MessageTooLong(size, size_max)
        if size <= 7 - len(self._tx_prefix):
            return [self._frame(bytes((size,)) + data), Sent(size)]
        if size <= single_max:
            return [self._frame(bytes((0, size)) + data), Sent(size)]
        if size <= SIZE_12_BIT_MAX:
            head = bytes((0x10 | size >> 8, size & 0xFF))
        else:
            head = b"\x10\x00" + size.to_bytes(4, "big")
        self._tx_at = self._tx_dl - len(self._tx_prefix) - len(head)
        self._tx_data = bytes(data)
        self._tx_number = 1
        self._tx_waits = 0
        self.tx_state = WAIT_FC
        self._tx_due_us = now_us + self._n_bs_us
        return [self._frame(head + data[: self._tx_at])]

    def _on_flow_control(self, body: bytes, now_us: int) -> list[Action]:
        # In any other state it answers nothing of ours; the standard lets it be (section 9.8.3).
        if self.tx_state != WAIT_FC or len(body) < 3:
            return []
        status = body[0] & 0x0F
        if status == WAIT:
            self._tx_waits += 1
            if self._tx_waits > self._wait_max:
                return self._stop_sending(N_WFT_OVRN, f"more than {self._wait_max} WAIT frames")
            self._tx_due_us = now_us + self._n_bs_us
            return []
        if status == OVERFLOW:
            return self._stop_sending(N_BUFFER_OVFLW, f"the peer has no room for {len(self._tx_data)} bytes")
        if status != CTS:
            return self._stop_sending(N_INVALID_FS, f"flow status {status} means nothing")
        self._tx_waits = 0
        self._tx_block_left = body[1]
        self._tx_has_blocks = body[1] != 0
        self._tx_pause_us = st_min_us(body[2])
        self.tx_state = SENDING
        return self._go_on_sending(now_us)

    def _go_on_sending(self, now_us: int) -> list[Action]:
        actions: list[Action] = []
        data = self._tx_data
        step = self._tx_dl - len(self._tx_prefix) - 1
        while True:
            chunk = data[self._tx_at : self._tx_at + step]
            actions.append(self._frame(bytes((0x20 | self._tx_number,)) + chunk))
            self._tx_number = (self._tx_number + 1) & 0x0F
            self._tx_at += len(chunk)
            if self._tx_at >= len(data):
                actions.append(Sent(len(data)))
                self._reset_sender()
                return actions
            if self._tx_has_blocks:
                self._tx_block_left -= 1
                if self._tx_block_left == 0:
                    self.tx_state = WAIT_FC
                    self._tx_due_us = now_us + self._n_bs_us
                    return actions
            if self._tx_pause_us or len(actions) >= BURST_FRAMES:
                # From now, not from when it was due: a late call must not shorten the next pause.
                self._tx_due_us = now_us + self._tx_pause_us
                return actions

    def _stop_sending(self, result: str, detail: str) -> list[Action]:
        self._reset_sender()
        return [Failed(True, result, detail)]

    def _reset_sender(self) -> None:
        self.tx_state = IDLE
        self._tx_due_us = None
        self._tx_data = b""

    # Receiving

    def receive(self, frame: CanFrame, now_us: int) -> list[Action]:
        """What follows from a frame that `address.accepts`; bytes that are no PDU are ignored."""
        data: bytes = frame.data
        body = data[self._skip :] if self._skip else data
        if not body:
            return []
        kind = body[0] >> 4
        if kind == 0:
            return self._on_single(body, len(data))
        if kind == 3:
            return self._on_flow_control(body, now_us)
        # A functional address carries single frames only (section 9.2).
        if self.address.is_functional:
            return []
        if kind == 1:
            return self._on_first(body, len(data), now_us)
        if kind == 2:
            return self._on_consecutive(body, len(data), now_us)
        return []

    def _on_single(self, body: bytes, frame_size: int) -> list[Action]:
        size = body[0] & 0x0F
        begin = 1
        if frame_size > 8:
            # Only the escape is allowed in a longer frame (section 9.6.2).
            if size or len(body) < 2:
                return []
            size = body[1]
            begin = 2
        if not 1 <= size <= len(body) - begin:
            return []
        actions = self._interrupted("a single frame")
        actions.append(Received(body[begin : begin + size]))
        return actions

    def _on_first(self, body: bytes, frame_size: int, now_us: int) -> list[Action]:
        if frame_size < 8 or len(body) < 6:
            return []
        size = (body[0] & 0x0F) << 8 | body[1]
        begin = 2
        if size == 0:
            size = int.from_bytes(body[2:6], "big")
            begin = 6
            if size <= SIZE_12_BIT_MAX:
                return []
        # What fits into a single frame must not come in several (FF_DLmin, section 9.6.3).
        single_max = frame_size - (1 if frame_size == 8 else 2) - self._skip
        if size <= single_max:
            return []
        actions = self._interrupted("a first frame")
        if size > self._size_max:
            actions += self._control(OVERFLOW)
            actions.append(
                Failed(False, N_BUFFER_OVFLW, f"{size} bytes announced, room for {self._size_max}")
            )
            return actions
        self._rx_data = bytearray(body[begin:])
        self._rx_size = size
        self._rx_number = 1
        self._rx_dl = frame_size
        self._rx_waits = 0
        return actions + self._ask_for_block(now_us)

    def _ask_for_block(self, now_us: int) -> list[Action]:
        if self.is_paused:
            self._rx_waits += 1
            if self._rx_waits > self._wait_max:
                return self._stop_receiving(N_WFT_OVRN, f"paused for {self._wait_max} WAIT frames")
            self.rx_state = PAUSED
            self._rx_due_us = now_us + WAIT_EVERY_US
            return self._control(WAIT)
        self.rx_state = COLLECTING
        self._rx_waits = 0
        self._rx_block_left = self._block_size
        self._rx_due_us = now_us + self._n_cr_us
        return self._control(CTS)

    def resume(self, now_us: int) -> list[Action]:
        """There is room again."""
        self.is_paused = False
        return self._ask_for_block(now_us) if self.rx_state == PAUSED else []

    def _on_consecutive(self, body: bytes, frame_size: int, now_us: int) -> list[Action]:
        # None is expected, so it is ignored (section 9.8.3).
        if self.rx_state != COLLECTING:
            return []
        missing = self._rx_size - len(self._rx_data)
        # All frames but the last are as long as the first one; a shorter one is no part of this message.
        if frame_size < self._rx_dl and len(body) - 1 < missing:
            return []
        number = body[0] & 0x0F
        if number != self._rx_number:
            detail = f"consecutive frame {number:X} instead of {self._rx_number:X}"
            return self._stop_receiving(N_WRONG_SN, detail)
        self._rx_number = (number + 1) & 0x0F
        self._rx_data.extend(body[1 : 1 + missing])
        if len(self._rx_data) >= self._rx_size:
            message = bytes(self._rx_data)
            self._reset_receiver()
            return [Received(message)]
        self._rx_due_us = now_us + self._n_cr_us
        if self._block_size:
            self._rx_block_left -= 1
            if self._rx_block_left == 0:
                return self._ask_for_block(now_us)
        return []

    def _interrupted(self, by: str) -> list[Action]:
        """What is told when a new message comes before the last was complete."""
        if self.rx_state == IDLE:
            return []
        return self._stop_receiving(N_UNEXP_PDU, f"{by} after {len(self._rx_data)} of {self._rx_size} bytes")

    def _stop_receiving(self, result: str, detail: str) -> list[Action]:
        self._reset_receiver()
        return [Failed(False, result, detail)]

    def _reset_receiver(self) -> None:
        self.rx_state = IDLE
        self._rx_due_us = None
        self._rx_data = bytearray()

    # Time

    def tick(self, now_us: int) -> list[Action]:
        """What is due: the next consecutive frames, a WAIT, or a timeout."""
        actions: list[Action] = []
        if self._tx_due_us is not None and now_us >= self._tx_due_us:
            if self.tx_state == SENDING:
                actions += self._go_on_sending(now_us)
            else:
                at = f"{self._tx_at} of {len(self._tx_data)} bytes"
                actions += self._stop_sending(N_TIMEOUT_BS, f"no flow control after {at}")
        if self._rx_due_us is not None and now_us >= self._rx_due_us:
            if self.rx_state == PAUSED:
                actions += self._ask_for_block(now_us)
            else:
                at = f"{len(self._rx_data)} of {self._rx_size} bytes"
                actions += self._stop_receiving(N_TIMEOUT_CR, f"no consecutive frame after {at}")
        return actions

    # Frames

    def _control(self, status: int) -> list[Action]:
        if self._is_listening:
            return []
        return [self._frame(bytes((0x30 | status,)) + self._flow_control)]

    def _frame(self, body: bytes) -> Transmit:
        data = self._tx_prefix + body
        size = len(data)
        if size <= 8:
            if self._padding is not None:
                data += bytes((self._padding,)) * (8 - size)
        else:
            # Longer frames exist in a few lengths only, so these must be filled up in any case.
            length = next(length for length in FD_LENGTHS if length >= size)
            data += bytes((PAD if self._padding is None else self._padding,)) * (length - size)
        return Transmit(CanFrame(self.address.tx_id, self._tx_flags, data))
