"""The bytes of one connection as a person writes them down: hex digits, marked by direction.

    # what stands behind a number sign is for people
    > 6b1f 07c2 9d…       client to server, until another mark
      3e:44:01            blanks, colons, commas and 0x are ignored
    < 9a 00 …             server to client
    server:               the same, as a word

Without a mark, everything is the client's.
"""

import re
from collections.abc import Iterator
from typing import Final

from trio_vmess.core.dissection import Direction
from trio_vmess.diagnosis.decode.source import Source
from trio_vmess.errors import RecordingError

_LINE_MAX: Final = 16 * 1024 * 1024
"""Bytes of a line."""

_MARK: Final = re.compile(r"\s*(?:(>|<)|(client|server)\b:?)", re.IGNORECASE)
_NOISE: Final = re.compile(r"[\s:,]+|(?<![0-9a-f])0x", re.IGNORECASE)
_NOT_HEX: Final = re.compile(r"[^0-9a-f]", re.IGNORECASE)
_DIRECTIONS: Final = {
    ">": Direction.UPLINK,
    "client": Direction.UPLINK,
    "<": Direction.DOWNLINK,
    "server": Direction.DOWNLINK,
}


def read_hex(file: Source) -> Iterator[tuple[Direction, bytes]]:
    """Yield the bytes of hex text, line by line.

    Raises:
        RecordingError: it is not hex text; names the line and what is wrong with it.
    """
    direction = Direction.UPLINK
    number = 0
    while line := file.readline(_LINE_MAX):
        number += 1
        try:
            text = line.decode("ascii").partition("#")[0]
        except UnicodeDecodeError:
            raise RecordingError(
                f"line {number}: neither a capture (pcap, pcapng) nor hex text"
            ) from None
        if mark := _MARK.match(text):
            direction = _DIRECTIONS[mark[mark.lastindex or 0].lower()]
            text = text[mark.end() :]
        if data := _read_line(text, number):
            yield direction, data


def _read_line(text: str, number: int) -> bytes:
    digits = _NOISE.sub("", text)
    if wrong := _NOT_HEX.search(digits):
        raise RecordingError(
            f"line {number}: {wrong[0]!r} is not a hex digit; expected a capture (pcap, pcapng) "
            "or hex text with '>' before the client's bytes and '<' before the server's"
        )
    if len(digits) % 2:
        raise RecordingError(f"line {number}: an odd number of hex digits ({len(digits)})")
    return bytes.fromhex(digits)
