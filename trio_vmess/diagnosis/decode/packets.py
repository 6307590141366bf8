"""TCP segments from the files of tcpdump and Wireshark, pcap and pcapng.

dpkt knows the formats of files, links, IP and TCP. It is loaded with this module, which only
`decode` imports. It trusts the sizes that a file states, and its parsers raise whatever Python
raises when a packet is damaged; both end here.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from trio_vmess.diagnosis.decode.segments import Segment, SkippedPacket
from trio_vmess.diagnosis.decode.source import Source
from trio_vmess.errors import RecordingError

try:
    import dpkt as _dpkt  # pyright: ignore[reportMissingTypeStubs]
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "reading captures needs another package: pip install 'trio-vmess[decode]'", name="dpkt"
    ) from None

dpkt: Final[Any] = _dpkt
"""The library has no type hints."""

_RECORD_MAX: Final = 16 * 1024 * 1024
"""Bytes of one record: more than any system captures of a packet."""

_IPV4: Final = 4
_WORD: Final = 4
_IPV6_FRAGMENT: Final = 44


class _File:
    """A file that dpkt may read records from: bounded ones."""

    def __init__(self, file: Source) -> None:
        self._file = file
        self.position = 0
        self.is_cut = False

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _RECORD_MAX:
            raise RecordingError(
                f"the capture is damaged at byte {self.position}: a record of {size} bytes"
            )
        data = self._file.read(size)
        self.position += len(data)
        self.is_cut = len(data) < size
        return data


def _read_ip(data: bytes) -> Any:
    return (dpkt.ip.IP if data[0] >> 4 == _IPV4 else dpkt.ip6.IP6)(data)


_LINKS: Final[Mapping[int, Callable[[bytes], Any]]] = {
    0: dpkt.loopback.Loopback,
    1: dpkt.ethernet.Ethernet,
    12: _read_ip,
    14: _read_ip,
    101: _read_ip,
    108: dpkt.loopback.Loopback,
    113: dpkt.sll.SLL,
    228: _read_ip,
    229: _read_ip,
    276: dpkt.sll2.SLL2,
}
"""By the numbers of https://www.tcpdump.org/linktypes.html."""


def read_segments(file: Source) -> Iterator[Segment | SkippedPacket]:
    """Yield what each packet of a capture holds, in the order of the file.

    A file that ends inside a packet ends there.

    Args:
        file: not read yet.

    Raises:
        RecordingError: the file is damaged, or its kind of link is not known.
    """
    make = dpkt.pcapng.Reader if file.is_pcapng else dpkt.pcap.Reader
    source = _File(file)
    try:
        reader = make(source)
        link = reader.datalink()
        packets = iter(reader)
    except RecordingError:
        raise
    except Exception as exc:  # noqa: BLE001  (see the module)
        raise RecordingError(f"the head of the capture is damaged or cut off: {exc}") from None
    parse = _LINKS.get(link)
    if parse is None:
        raise RecordingError(
            f"captures of link type {link} are not supported: expected Ethernet, loopback, raw IP, "
            "or Linux' cooked capture (tcpdump -i any)"
        )
    while True:
        try:
            time, data = next(packets)
        except StopIteration:
            return
        except RecordingError:
            raise
        except Exception as exc:  # noqa: BLE001  (see the module)
            if source.is_cut:
                return
            raise RecordingError(
                f"the capture is damaged at byte {source.position}: {exc}"
            ) from None
        yield _read_packet(parse, float(time), data)


def _read_packet(
    parse: Callable[[bytes], Any], time: float, data: bytes
) -> Segment | SkippedPacket:
    try:
        layer = parse(data)
        while not isinstance(layer, bytes):
            if isinstance(layer, dpkt.ip.IP | dpkt.ip6.IP6):
                if _is_fragment(layer):
                    return SkippedPacket(reason="IP fragment")
                if isinstance(layer.data, dpkt.tcp.TCP):
                    return _read_segment(time, layer)
            layer = layer.data
    except Exception:  # noqa: BLE001  (see the module)
        return SkippedPacket(reason="damaged or cut")
    return SkippedPacket(reason="not TCP")


def _is_fragment(packet: Any) -> bool:
    if isinstance(packet, dpkt.ip.IP):
        return bool(packet.mf or packet.offset)
    return _IPV6_FRAGMENT in packet.extension_hdrs


def _read_segment(time: float, packet: Any) -> Segment:
    tcp = packet.data
    data = bytes(tcp.data)
    if isinstance(packet, dpkt.ip.IP):
        stated, heads = packet.len, packet.hl * _WORD
    else:
        stated, heads = packet.plen, sum(each.length for each in packet.all_extension_headers)
    # 0 stands for more than 16 bits can say: what the network card was to cut into packets.
    size = stated - heads - tcp.off * _WORD if stated else len(data)
    flags = tcp.flags
    return Segment(
        time=time,
        source=(packet.src, tcp.sport),
        target=(packet.dst, tcp.dport),
        sequence=tcp.seq,
        syn=bool(flags & dpkt.tcp.TH_SYN),
        ack=bool(flags & dpkt.tcp.TH_ACK),
        fin=bool(flags & dpkt.tcp.TH_FIN),
        rst=bool(flags & dpkt.tcp.TH_RST),
        data=data,
        missing=max(0, size - len(data)),
    )
