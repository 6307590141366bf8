"""Frames of Mux.Cool: golden vectors, every split, what is ignored, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.mux.frames import VECTORS, frames, frames_of, read
from tests.kit.vectors import for_each, unpack
from trio_vmess.core import Destination, Network
from trio_vmess.core.mux import End, Frame, FrameReader, Keep, KeepAlive, New, encode_frame
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError

WEB = Destination(host="example.com", port=443)
DNS = Destination(host="example.com", port=53, network=Network.UDP)


@for_each(VECTORS)
def test_golden_frames_are_written(vector: dict[str, Any]) -> None:
    assert b"".join(map(encode_frame, frames_of(vector))) == unpack(vector["wire"])


@for_each(VECTORS)
def test_golden_frames_are_read(vector: dict[str, Any]) -> None:
    assert read([unpack(vector["wire"])]) == frames_of(vector)


@for_each(VECTORS)
def test_every_split_of_short_golden_frames_is_the_same(vector: dict[str, Any]) -> None:
    wire, expected = unpack(vector["wire"])[:400], None
    for position in range(len(wire) + 1):
        found = read([wire[:position], wire[position:]])
        expected = found if expected is None else expected
        assert found == expected


@for_each(VECTORS)
def test_byte_by_byte_is_the_same(vector: dict[str, Any]) -> None:
    wire = unpack(vector["wire"])
    assert read(bytes((byte,)) for byte in wire) == frames_of(vector)


@given(st.lists(frames, max_size=6), st.integers(1, 90))
def test_what_is_written_can_be_read(sent: list[Frame], step: int) -> None:
    wire = b"".join(map(encode_frame, sent))
    assert read(wire[start : start + step] for start in range(0, len(wire), step)) == sent


def test_frames_come_as_soon_as_they_are_whole() -> None:
    reader = FrameReader()
    wire = encode_frame(Keep(1, b"abc")) + encode_frame(Keep(2, b"def"))
    assert reader.receive_data(wire[:-1]) == [Keep(1, b"abc")]
    assert not reader.is_between_frames
    assert reader.receive_data(wire[-1:]) == [Keep(2, b"def")]
    assert reader.is_between_frames


IGNORED = {
    "metadata behind a destination": (
        "0016000101000101bb020b6578616d706c652e636f6d0000",
        New(1, WEB),
    ),
    "metadata behind an end": ("0006000103020000", End(1, is_error=True)),
    "data of an end": ("00040001030100020000", End(1)),
    "data of a keep-alive": ("00040000040100020000", KeepAlive()),
    "unknown options": ("0004000102fc", Keep(1)),
    "no bytes as data": ("0004000102010000", Keep(1, b"")),
    "a stream's target behind keep": ("000c0001020001005001c0000221", Keep(1)),
    "a global id of zeros": (
        "001c0006010002003502" + "0b6578616d706c652e636f6d" + "00" * 8,
        New(6, DNS, is_extended=True),
    ),
    "half a global id": ("001800060100020035020b6578616d706c652e636f6d01020304", New(6, DNS)),
}


@pytest.mark.parametrize(("wire", "frame"), IGNORED.values(), ids=IGNORED)
def test_what_means_nothing_is_ignored(wire: str, frame: Frame) -> None:
    assert read([bytes.fromhex(wire)]) == [frame]


REFUSED = {
    "no metadata": ("0000", "0 bytes of metadata"),
    "too few bytes of metadata": ("0003000101", "3 bytes of metadata"),
    "too many bytes of metadata": ("0201", "513 bytes of metadata"),
    "status 0": ("000400010000", "status 0"),
    "status 5": ("000400010500", "status 5"),
    "new without a destination": ("000400010100", "ends inside the destination"),
    "new without an address": ("000800010100010050" + "01", "ends inside the destination"),
    "new with a cut address": ("000a0001010001005001c000", "ends inside the destination"),
    "new with a cut name": ("000a00010100010050020b65", "ends inside the destination"),
    "network 3": ("000c0001010003005001c0000221", "network 3"),
    "address type 4": ("000c0001010001005004c0000221", "address type: 4"),
    "an illegal name": ("000a00010100010050020120", "contains bytes"),
    "keep with a cut address": ("000a0001020002005001c000", "ends inside the destination"),
}


@pytest.mark.parametrize(("wire", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_frame_is_refused(wire: str, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        read([bytes.fromhex(wire) + bytes(20)])


def test_data_that_does_not_fit_is_not_written() -> None:
    assert len(encode_frame(Keep(1, bytes(0xFFFF)))) == 8 + 0xFFFF
    with pytest.raises(LocalProtocolError, match="65536 bytes"):
        encode_frame(Keep(1, bytes(0x10000)))
