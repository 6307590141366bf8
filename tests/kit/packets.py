"""Captures as tcpdump and Wireshark write them, built byte by byte and without a library."""

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

CLIENT: Final = ("192.0.2.1", 50000)
SERVER: Final = ("198.51.100.2", 10086)

Packet = tuple[float, bytes]
"""UTC seconds, and an IP packet."""


def build_packet(
    source: tuple[str, int],
    target: tuple[str, int],
    sequence: int,
    data: bytes = b"",
    *,
    flags: int = ACK,
    is_first_fragment: bool = False,
) -> bytes:
    """Return an IP packet with a TCP segment; its checksums are 0, as offloading leaves them."""
    tcp = struct.pack(
        ">HHIIBBHHH", source[1], target[1], sequence % 2**32, 0, 0x80, flags, 65535, 0, 0
    )
    tcp += b"\x01" * 12 + data  # options that do nothing
    addresses = [ipaddress.ip_address(end[0]) for end in (source, target)]
    packed = b"".join(address.packed for address in addresses)
    if addresses[0].version == 6:
        return struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + packed + tcp
    fragment = 0x2000 if is_first_fragment else 0
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, fragment, 64, 6, 0) + packed + tcp


@attrs.define(kw_only=True)
class TcpConversation:
    """The packets of one connection, in the order in which they are made.

    Attributes:
        client: address and port.
        server: address and port.
        time: UTC seconds of the next packet; a millisecond more for each.
        sequences: of the next bytes of the client and of the server.
        packets: so far.
    """

    client: tuple[str, int] = CLIENT
    server: tuple[str, int] = SERVER
    time: float = 1_700_000_000.5
    sequences: list[int] = attrs.field(factory=lambda: [0xFFFF_FF00, 77])
    packets: list[Packet] = attrs.field(factory=list)

    def add(self, side: int, data: bytes = b"", *, flags: int = ACK) -> None:
        """Add a packet of the client (side 0) or of the server (side 1)."""
        ends = (self.client, self.server) if side == 0 else (self.server, self.client)
        packet = build_packet(*ends, self.sequences[side], data, flags=flags)
        self.packets.append((self.time, packet))
        self.time += 0.001
        self.sequences[side] += len(data) + bool(flags & (SYN | FIN))

    def open(self) -> None:
        """Shake hands."""
        self.add(0, flags=SYN)
        self.add(1, flags=SYN | ACK)
        self.add(0)

    def send(self, side: int, data: bytes, size: int = 1400) -> None:
        """Send in segments of a size."""
        for start in range(0, len(data), size):
            self.add(side, data[start : start + size])

    def close(self) -> None:
        """End both directions."""
        self.add(0, flags=FIN | ACK)
        self.add(1, flags=FIN | ACK)


def record_exchange(uplink: bytes, downlink: bytes, *, size: int = 1400) -> list[Packet]:
    """Return the packets of a whole connection."""
    conversation = TcpConversation()
    conversation.open()
    conversation.send(0, uplink, size)
    conversation.send(1, downlink, size)
    conversation.close()
    return conversation.packets


# Links --------------------------------------------------------------------------------------------


def _is_ipv4(packet: bytes) -> bool:
    return packet[0] >> 4 == 4


def _ethernet(packet: bytes) -> bytes:
    kind = b"\x08\x00" if _is_ipv4(packet) else b"\x86\xdd"
    # Short frames are padded; what is behind the packet is none of its data.
    return (bytes(12) + kind + packet).ljust(60, b"\xee")


def _vlan(packet: bytes) -> bytes:
    return bytes(12) + b"\x81\x00\x00\x05" + _ethernet(packet)[12:]


def _cooked(packet: bytes) -> bytes:
    kind = b"\x08\x00" if _is_ipv4(packet) else b"\x86\xdd"
    return b"\x00\x00\x00\x01\x00\x06" + bytes(8) + kind + packet


def _cooked2(packet: bytes) -> bytes:
    kind = b"\x08\x00" if _is_ipv4(packet) else b"\x86\xdd"
    return kind + bytes(2) + b"\0\0\0\x01\0\x01\0\x06" + bytes(8) + packet


def _loopback(packet: bytes) -> bytes:
    return struct.pack("<I", 2 if _is_ipv4(packet) else 30) + packet


LINKS: Final = {
    "ethernet": (1, _ethernet),
    "ethernet, VLAN": (1, _vlan),
    "raw": (101, bytes),
    "cooked": (113, _cooked),
    "cooked 2": (276, _cooked2),
    "loopback": (0, _loopback),
}
"""By name: the number of the link, and what puts a packet into its frame."""


# Files --------------------------------------------------------------------------------------------


def write_pcap(
    packets: Iterable[Packet],
    *,
    link: str = "ethernet",
    snap: int = 65535,
    order: str = "<",
    nanoseconds: bool = False,
) -> bytes:
    """Return a file of tcpdump; of each frame, `snap` bytes are captured."""
    number, frame = LINKS[link]
    magic, unit = (0xA1B23C4D, 10**9) if nanoseconds else (0xA1B2C3D4, 10**6)
    parts = [struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, snap, number)]
    for time, packet in packets:
        whole = frame(packet)
        kept = whole[:snap]
        fraction = int(time % 1 * unit)
        parts.append(struct.pack(f"{order}IIII", int(time), fraction, len(kept), len(whole)) + kept)
    return b"".join(parts)


def write_pcapng(packets: Sequence[Packet], *, link: str = "ethernet") -> bytes:
    """Return a file of Wireshark."""
    number, frame = LINKS[link]

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + size + body + size

    parts = [
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack("<HHI", number, 0, 65535)),
    ]
    for time, packet in packets:
        whole, ticks = frame(packet), int(time * 10**6)
        head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(whole), len(whole))
        parts.append(block(6, head + whole))
    return b"".join(parts)
