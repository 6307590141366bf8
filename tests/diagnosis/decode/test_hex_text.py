"""Hex text: its directions, what is ignored, and what is said about anything else."""

import io

import pytest

from trio_vmess.core.dissection import Direction
from trio_vmess.diagnosis.decode.hex_text import read_hex
from trio_vmess.diagnosis.decode.source import Source
from trio_vmess.errors import RecordingError

UP, DOWN = Direction.UPLINK, Direction.DOWNLINK


def read(text: str | bytes) -> list[tuple[Direction, bytes]]:
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    return list(read_hex(Source(io.BytesIO(data))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n  \n", []),
        ("0a0B", [(UP, b"\x0a\x0b")]),
        ("0a 0b\r\n0c", [(UP, b"\x0a\x0b"), (UP, b"\x0c")]),
        ("0a:0b,0c\t0d", [(UP, b"\x0a\x0b\x0c\x0d")]),
        ("0x0a, 0x0b", [(UP, b"\x0a\x0b")]),
        ("0 a0 b", [(UP, b"\x0a\x0b")]),
        ("> 0a\n< 0b", [(UP, b"\x0a"), (DOWN, b"\x0b")]),
        ("<0b\n>0a", [(DOWN, b"\x0b"), (UP, b"\x0a")]),
        ("  >\n0a\n0b\n<\n0c\n", [(UP, b"\x0a"), (UP, b"\x0b"), (DOWN, b"\x0c")]),
        ("client: 0a\nserver: 0b", [(UP, b"\x0a"), (DOWN, b"\x0b")]),
        ("Client\n0a\nSERVER\n0b", [(UP, b"\x0a"), (DOWN, b"\x0b")]),
        ("# > 0a: nothing\n0b # < 0c", [(UP, b"\x0b")]),
        ("> # the client's\n0a", [(UP, b"\x0a")]),
        ("c1 ce", [(UP, b"\xc1\xce")]),
    ],
)
def test_hex_text_is_read(text: str, expected: list[tuple[Direction, bytes]]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0a\n0b 0g", "line 2: 'g' is not a hex digit; expected a capture"),
        ("0a\n\n0b0", r"line 3: an odd number of hex digits \(3\)"),
        ("> 0a > 0b", "line 1: '>' is not a hex digit"),
        ("clients 0a", "line 1: 'l' is not a hex digit"),
        (b"\xd6\x03\x01", "line 1: neither a capture"),
        (b"0a\n\xff\xfe", "line 2: neither a capture"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str | bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        read(text)
