"""Radios in memory that hear each other: bumble's controllers, taught what its own leave out.

Runs on CPython; needs bumble.  Added to bumble's: scan responses to active scans only, advertising that
cannot be connected, duplicates filtered, connection parameters as asked for, connecting that can be
cancelled, a TERMINATE that is acknowledged, links by connection instead of by address (a board that starts
anew is not heard on its old link), and everything that `air_link.Link` does to messages on their way.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from bumble import hci, ll
from bumble.controller import Connection, Controller, LegacyAdvertiser
from bumble.core import PhysicalTransport
from bumble.link import LocalLink

from hil.air_link import ERROR_LOCAL_HOST, ERROR_TIMEOUT, INTERVAL_UNIT_MS, Conditions, Cut, Link

ADVERTISING_UNIT_MS = 0.625
RSSI_DBM = -50
ACL_BYTES = 251
"""Of one packet between host and controller.  Source: volume 6, part B, section 4.5.10."""
CONNECTABLE, DIRECTED, SCANNABLE, NOT_CONNECTABLE, SCAN_RESPONSE = range(5)
"""Types of reports, and but for the last of advertising.  Source: volume 4, part E, section 7.7.65.2."""


@dataclass(slots=True)
class Advertisement(ll.AdvertisingPdu):
    """One advertisement, and what answers a scan request."""

    radio: Radio
    address: hci.Address
    kind: int
    data: bytes
    response: bytes


class Advertiser(LegacyAdvertiser):
    """Speaks at the interval that was set, as what was set."""

    def _on_timer_fired(self) -> None:
        self.send_advertising_data()
        wait_ms = max(self.advertising_interval_min, 0x20) * ADVERTISING_UNIT_MS
        self.timer_handle = asyncio.get_running_loop().call_later(wait_ms / 1_000, self._on_timer_fired)

    def send_advertising_data(self) -> None:
        """One advertisement, if it is still on."""
        if self.enabled and isinstance(self.controller, Radio):
            self.controller.medium.advertise(
                Advertisement(
                    self.controller,
                    self.address,
                    int(self.advertising_type),
                    self.advertising_data,
                    self.scan_response_data,
                )
            )


@dataclass(slots=True)
class _End:
    """One side's view of a link."""

    link: Link
    connection: Connection
    peer: Radio
    peer_connection: Connection
    towards_peer: str


class Radio(Controller):
    """One controller."""

    le_features = hci.LeFeatureMask(
        Controller.le_features
        & ~(hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING)
    )
    acl_data_packet_length = ACL_BYTES
    le_acl_data_packet_length = ACL_BYTES

    def __init__(self, name: str, medium: Medium) -> None:
        """name: for logs."""
        self.medium = medium
        self.ends: dict[hci.Address, _End] = {}
        self.is_silent = False
        """Neither hears nor is heard."""
        self._reported: set[tuple[int, hci.Address]] = set()
        super().__init__(name, link=medium)
        self.le_legacy_advertiser = Advertiser(self)

    @property
    def address(self) -> str:
        """As it is written: `C0:11:22:33:44:55`."""
        return str(self.random_address).partition("/")[0]

    def on_ll_advertising_pdu(self, packet: ll.AdvertisingPdu) -> None:
        """Reports it if this radio scans, and connects if that is the one it waits for."""
        if not isinstance(packet, Advertisement) or self.is_silent or packet.radio.is_silent:
            return
        if self.le_scan_enable:
            self._report(packet.kind, packet.address, packet.data)
            if self.le_scan_type and packet.kind in (CONNECTABLE, SCANNABLE):
                self._report(SCAN_RESPONSE, packet.address, packet.response)
        wanted = self.pending_le_connection
        if (
            wanted is not None
            and packet.kind in (CONNECTABLE, DIRECTED)
            and wanted.peer_address == packet.address
            and packet.radio.le_legacy_advertiser.enabled
            and packet.address not in self.le_connections
        ):
            self.pending_le_connection = None
            self.medium.connect(self, packet.radio, packet.address, wanted)

    def _report(self, kind: int, address: hci.Address, data: bytes) -> None:
        if self.filter_duplicates:
            if (kind, address) in self._reported:
                return
            self._reported.add((kind, address))
        event = hci.HCI_LE_Advertising_Report_Event
        report = event.Report(
            event_type=event.EventType(kind),
            address_type=address.address_type,
            address=address,
            data=data,
            rssi=RSSI_DBM,
        )
        self.send_hci_packet(event([report]))

    def on_hci_le_set_scan_enable_command(
        self, command: hci.HCI_LE_Set_Scan_Enable_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Each scan tells each device anew."""
        self._reported.clear()
        return super().on_hci_le_set_scan_enable_command(command)

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Source: volume 4, part E, section 7.8.13."""
        wanted, self.pending_le_connection = self.pending_le_connection, None
        if wanted is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        self.send_hci_packet(
            _connected(
                0, hci.Role.CENTRAL, wanted.peer_address, 0, 0, hci.HCI_UNKNOWN_CONNECTION_IDENTIFIER_ERROR
            )
        )
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def on_hci_disconnect_command(self, command: hci.HCI_Disconnect_Command) -> None:
        """Says TERMINATE after all that was said before, and is through when the peer has it."""
        connection = self.find_le_connection_by_handle(command.connection_handle)
        end = None if connection is None else self.ends.get(connection.peer_address)
        if end is None:
            self._send_hci_command_status(
                hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, command.op_code
            )
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        end.link.send(end.towards_peer, lambda: self.medium.terminate(self, end, command.reason))

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Source: volume 4, part E, section 7.3.2."""
        self.stop()
        return super().on_hci_reset_command(command)

    def stop(self) -> None:
        """Neither advertises nor scans nor connects, and what was connected is told."""
        self.le_legacy_advertiser.stop()
        self.le_scan_enable = False
        self.pending_le_connection = None
        for end in list(self.ends.values()):
            self.medium.terminate(self, end, hci.HCI_REMOTE_USER_TERMINATED_CONNECTION_ERROR)

    def gone(self, connection: Connection, reason: int) -> None:
        """One connection has ended."""
        if self.ends.pop(connection.peer_address, None) is not None:
            self.on_le_disconnected(connection, reason)


class Medium(LocalLink):
    """What radios share: who hears whom, and how well."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conditions = conditions
        self.chance = random.Random(seed)
        self.links: list[Link] = []
        """Open ones, oldest first."""
        self.ended: list[Link] = []
        """The newest ENDED_MAX that have ended, for their figures."""
        self.cuts: list[tuple[str, Cut]] = []
        """(address, cut) that wait for the next link of an address."""
        # bumble keeps a set, whose order is not the same in each run.
        self.radios: list[Radio] = []

    def add_controller(self, controller: Controller) -> None:
        """A radio is switched on."""
        if isinstance(controller, Radio):
            self.radios.append(controller)

    def remove_controller(self, controller: Controller) -> None:
        """A radio loses its power: nobody is told, and its links fall silent."""
        if isinstance(controller, Radio) and controller in self.radios:
            self.radios.remove(controller)
            controller.host = None
            controller.is_silent = True
            controller.le_legacy_advertiser.stop()
            for end in controller.ends.values():
                end.link.silence()

    def advertise(self, packet: Advertisement) -> None:
        """Everybody who listens hears it, unless it is lost."""
        loop = asyncio.get_running_loop()
        for radio in self.radios:
            if radio is packet.radio or not (radio.le_scan_enable or radio.pending_le_connection):
                continue
            if self.conditions.loss and self.chance.random() < self.conditions.loss:
                continue
            loop.call_soon(radio.on_ll_advertising_pdu, packet)

    def connect(self, central: Radio, peripheral: Radio, address: hci.Address, wanted: Any) -> None:
        """A connection begins.  wanted: the central's command, with the parameters."""
        peripheral.le_legacy_advertiser.stop()
        interval, timeout = wanted.connection_interval_min, wanted.supervision_timeout
        link = Link(
            central.address,
            str(address).partition("/")[0],
            self.conditions,
            self.chance,
            self._lost,
            agreed_interval_ms=interval * INTERVAL_UNIT_MS,
            agreed_supervision_ms=timeout * 10.0,
        )
        names = (link.central, link.peripheral)
        link.cuts = [cut for name, cut in self.cuts if name in names]
        self.cuts = [(name, cut) for name, cut in self.cuts if name not in names]
        self.links.append(link)
        ours = self._connection(central, hci.Role.CENTRAL, central.random_address, address)
        theirs = self._connection(peripheral, hci.Role.PERIPHERAL, address, central.random_address)
        central.ends[address] = _End(link, ours, peripheral, theirs, "down")
        peripheral.ends[central.random_address] = _End(link, theirs, central, ours, "up")
        for radio, connection in ((central, ours), (peripheral, theirs)):
            radio.send_hci_packet(
                _connected(connection.handle, connection.role, connection.peer_address, interval, timeout)
            )

    def _connection(self, radio: Radio, role: hci.Role, own: hci.Address, peer: hci.Address) -> Connection:
        connection = Connection(
            controller=radio,
            handle=radio.allocate_connection_handle(),
            role=role,
            self_address=own,
            peer_address=peer,
            link=self,
            transport=PhysicalTransport.LE,
            link_type=hci.HCI_Connection_Complete_Event.LinkType.ACL,
        )
        radio.le_connections[peer] = connection
        return connection

    def terminate(self, radio: Radio, end: _End, reason: int) -> None:
        """`radio` has ended a link, and its peer has heard it."""
        end.link.close()
        self._forget(end.link)
        radio.gone(end.connection, ERROR_LOCAL_HOST)
        end.peer.gone(end.peer_connection, reason)

    def _lost(self, link: Link) -> None:
        self._forget(link)
        for end in self._ends(link):
            end.peer.gone(end.peer_connection, ERROR_TIMEOUT)

    def _forget(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)
            self.ended.append(link)
            del self.ended[:-ENDED_MAX]

    def _ends(self, link: Link) -> list[_End]:
        ends = []
        for radio in [*self.radios]:
            for end in radio.ends.values():
                if end.link is link:
                    ends.append(end)
                    if end.peer not in self.radios:
                        ends.extend(other for other in end.peer.ends.values() if other.link is link)
        return ends

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """One L2CAP frame to the peer of one connection."""
        if isinstance(sender_controller, Radio) and (end := sender_controller.ends.get(destination_address)):
            peer, source = end.peer, end.peer_connection.peer_address
            end.link.send(
                end.towards_peer, lambda: peer.on_link_acl_data(source, PhysicalTransport.LE, data), data
            )

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: ll.ControlPdu
    ) -> None:
        """One control message of the link layer, in its order with the others."""
        for radio in reversed(self.radios):
            end = radio.ends.get(receiver_address)
            if end is not None and end.connection.self_address == sender_address:
                break
        else:
            return
        if isinstance(packet, ll.ConnectionUpdateInd):
            end.link.agreed_interval_ms = packet.interval * INTERVAL_UNIT_MS
            end.link.agreed_supervision_ms = packet.timeout * 10.0
        peer, source = end.peer, end.peer_connection.peer_address
        end.link.send(end.towards_peer, lambda: peer.on_ll_control_pdu(source, packet))


ENDED_MAX = 256


def _connected(
    handle: int, role: hci.Role, peer: hci.Address, interval: int, timeout: int, status: int = hci.HCI_SUCCESS
) -> hci.HCI_LE_Connection_Complete_Event:
    return hci.HCI_LE_Connection_Complete_Event(
        status=status,
        connection_handle=handle,
        role=role,
        peer_address_type=peer.address_type,
        peer_address=peer,
        connection_interval=interval,
        peripheral_latency=0,
        supervision_timeout=timeout,
        central_clock_accuracy=0,
    )
