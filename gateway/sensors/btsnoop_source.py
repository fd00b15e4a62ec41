"""Captured advertisements as a source: `btsnoop:btsnoop_hci.log?speed=max`.

Runs on CPython.  A reading is an advertisement as ble_decode.py has it; other packets of the capture are
counted as ignored.  What the recorder says it has lost, and what of the file cannot be read, are gaps.
Options: `start` and `speed` as in recording_source.py; `keys`, a keys file as in ble_keys.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sensors.ble_ad import Advertisement
from gateway.sensors.ble_decode import Decoder
from gateway.sensors.ble_hci import HciError, parse_event
from gateway.sensors.ble_keys import load_keys
from gateway.sensors.btsnoop import Capture, Packet
from gateway.sensors.recording_source import RecordingSource, play
from gateway.sensors.source import Batch, Clock, Gap, SourceStats, SourceUrl

BATCH_READINGS = 500


class CapturedAdvertisements:
    """The advertisements of a capture, once."""

    is_absolute = True

    def __init__(self, path: str, decoder: Decoder, stats: SourceStats) -> None:
        self.path = path
        self._capture = Capture(path)
        self._decoder = decoder
        self._stats = stats
        self._last_ns = 0

    @property
    def bytes_done(self) -> int:
        """Of the file, read."""
        return self._capture.bytes_done

    @property
    def bytes_total(self) -> int:
        """Of the file; 0 when unknown."""
        return self._capture.bytes_total

    def batches(self) -> Iterator[Batch]:
        """All advertisements in order."""
        batch = Batch([], [])
        for packet in self._capture.packets():
            self._add(packet, batch)
            if len(batch.values) >= BATCH_READINGS:
                yield batch
                batch = Batch([], [])
        if batch.values or batch.gaps:
            yield batch

    def close(self) -> None:
        """Closes the file."""
        self._capture.close()

    def _add(self, packet: Packet, batch: Batch) -> None:
        if packet.dropped:
            self._stats.dropped += packet.dropped
            self._gap(batch, "the recorder dropped packets", packet.dropped, packet.taken_ns)
        reports = []
        flaw = packet.flaw
        if not flaw:
            try:
                reports = parse_event(packet.event)
            except HciError as error:
                flaw = str(error)
        if flaw:
            self._stats.damaged += 1
            self._gap(batch, flaw, 1, packet.taken_ns)
        elif not reports:
            self._stats.ignored += 1
        for report in reports:
            advertisement = Advertisement(report.address, report.rssi_dbm, report.data)
            batch.taken_ns.append(packet.taken_ns)
            batch.values.append(self._decoder.reading(advertisement))
        self._last_ns = packet.taken_ns

    def _gap(self, batch: Batch, reason: str, count: int, now_ns: int) -> None:
        self._stats.note(f"{self.path}: {reason}")
        from_ns = min(self._last_ns or now_ns, now_ns)
        batch.gaps.append((len(batch.values), Gap(reason, count, from_ns, now_ns)))


def open_btsnoop(url: SourceUrl, name: str, clock: Clock) -> RecordingSource:
    """Opens `btsnoop:FILE`.  Raises SourceError."""
    keys = url.options.get("keys", "")
    stats = SourceStats()
    decoder = Decoder(load_keys(keys) if keys else None)
    return play(url, name, CapturedAdvertisements(url.target, decoder, stats), stats, clock)
