"""Fuzz what reads recordings: captures, hex text, and the connections in them."""

import io
import itertools
import json
from collections import defaultdict

from tests.core.dissection.recordings import record
from tests.kit.packets import record_exchange, write_pcap, write_pcapng
from tests.kit.pair import NOW, account
from trio_vmess.cli.decoded_json import format_json
from trio_vmess.cli.decoded_text import View, format_text
from trio_vmess.core.dissection import ChunkDamaged, ChunkFound, Direction, DirectionEnd
from trio_vmess.core.vmess import Command, Security
from trio_vmess.diagnosis.decode import Entry, Reading, Record, decode
from trio_vmess.errors import RecordingError

READING = Reading(account=account(), now=NOW)
VIEW = View(payload=True, secrets=True)

_RECORDINGS = [
    record(uplink=[b"hello", b"you"], downlink=[b"hi"]),
    record(Security.CHACHA20_POLY1305, 0x1D, uplink=[b"hello"], downlink=[b"hi"]),
    record(Security.AES_128_CFB, 0x01, uplink=[b"hello"], downlink=[]),
    record(command=Command.MUX, uplink=[b"\0\x04\0\x01\x02\x01\0\x02hi"], downlink=[b"\0\x04"]),
]

SEEDS = (
    *(
        b"> %b\n< %b" % (each.uplink.hex().encode(), each.downlink.hex().encode())
        for each in _RECORDINGS
    ),
    *(write_pcap(record_exchange(each.uplink, each.downlink)) for each in _RECORDINGS),
    write_pcap(record_exchange(b"GET / HTTP/1.1\r\n", b"HTTP/1.1", size=3), link="cooked 2"),
    write_pcapng(record_exchange(_RECORDINGS[0].uplink, _RECORDINGS[0].downlink, size=90)),
)


def check(data: bytes) -> None:
    """Read a recording.

    Raises:
        ValueError: what was found does not fit together, or has no line.
    """
    entries: list[Entry] = []
    try:
        entries.extend(decode(io.BytesIO(data), READING))
    except RecordingError:
        return
    places: defaultdict[tuple[int, Direction], list[tuple[int, int]]] = defaultdict(list)
    for entry in entries:
        if not list(format_text(entry, VIEW)):
            raise ValueError(f"no line for {entry}")
        for line in format_json(entry, VIEW):
            json.loads(line)
        if isinstance(entry, Record):
            place = places[entry.connection, entry.direction]
            match entry.finding:
                case ChunkFound(offset=offset, size=size) | ChunkDamaged(offset=offset, size=size):
                    place.append((offset, offset + size))
                case DirectionEnd(offset=offset):
                    place.append((offset, offset))
                case _:
                    pass
    for place in places.values():
        for (_, end), (start, _) in itertools.pairwise(place):
            if start < end:
                raise ValueError(f"two findings in one place: {place}")
