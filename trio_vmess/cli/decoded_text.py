"""What `decode` prints for people: a line for each finding, and some more for a header."""

import datetime
import json
from collections.abc import Iterator
from typing import Final, assert_never

import attrs

from trio_vmess.core import format_endpoint
from trio_vmess.core.dissection import (
    ChunkDamaged,
    ChunkFound,
    ContentUnreadable,
    DatagramFound,
    Direction,
    DirectionEnd,
    EndedBy,
    EndState,
    Finding,
    FrameFound,
    GapFound,
    RawFound,
    RequestFound,
    ResponseFound,
    Unreadable,
    Unrecognised,
)
from trio_vmess.core.mux import End, Frame, Keep, KeepAlive, New
from trio_vmess.core.vmess import Command, HeaderForm, Option, SwitchAccount, format_user_id
from trio_vmess.diagnosis.decode import Entry, Record, RecordedConnection, Summary

PREVIEW_SIZE: Final = 48
"""Bytes of payload that are shown."""

_ARROWS: Final = {Direction.UPLINK: ">", Direction.DOWNLINK: "<"}
_WINDOW: Final = 120
"""Seconds that servers allow."""

_OPTION_NAMES: Final = {
    Option.CHUNK_STREAM: "chunk stream",
    Option.REUSE: "reuse",
    Option.MASK: "masked sizes",
    Option.PADDING: "padding",
    Option.AUTHENTICATED_LENGTH: "authenticated lengths",
}

_CAUSES: Final = {
    EndedBy.FIN: "closed",
    EndedBy.RST: "reset",
    EndedBy.INPUT: "the recording ends",
    EndedBy.REPLACED: "another connection took its ports",
    EndedBy.FORGOTTEN: "not followed any longer: too many connections at a time",
}


def format_time(seconds: float) -> str:
    """Write a moment, in UTC."""
    try:
        moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{int(seconds)} UTC seconds"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def name_options(options: int) -> list[str]:
    """Return the names of the bits that are set; those without a name as a number."""
    names = [name for bit, name in _OPTION_NAMES.items() if options & bit]
    if unknown := options & ~sum(_OPTION_NAMES):
        names.append(f"0x{unknown:02x}")
    return names


def preview(data: bytes) -> str:
    """Write the first bytes of payload: in quotes if they are text, else as hex."""
    head = data[:PREVIEW_SIZE]
    more = "…" if len(data) > len(head) else ""
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return json.dumps(head.decode("ascii")) + more
    return head.hex() + more


@attrs.frozen(kw_only=True)
class View:
    """What is to be shown.

    Attributes:
        payload: the first bytes of payload.
        secrets: keys of bodies, and ids that servers offer.
        clock: what the times of headers are compared with, as a phrase.
    """

    payload: bool = False
    secrets: bool = False
    clock: str = "the recording"


def format_text(entry: Entry, view: View) -> Iterator[str]:
    """Yield the lines of something that `decode` has found."""
    match entry:
        case RecordedConnection():
            yield _format_connection(entry)
        case Record():
            mark = f"{entry.connection} {_ARROWS[entry.direction]}"
            for offset, text in _format_finding(entry.finding, view):
                yield f"{mark} {'' if offset is None else offset:>7}  {text}"
        case Summary():
            yield _format_summary(entry)
        case _:
            assert_never(entry)


def _format_connection(connection: RecordedConnection) -> str:
    text = f"connection {connection.number}"
    if connection.time is None:
        return f"{text}: hex text"
    text += f": {connection.client} -> {connection.server}, {format_time(connection.time)}"
    return text if connection.has_beginning else f"{text}; it begins before the capture"


def _format_summary(summary: Summary) -> str:
    count = summary.connections
    text = f"{count} connection{'s' * (count != 1)}, {summary.recognised} of this user"
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.skipped.items()))
    return f"{text}; packets left out: {skipped}" if skipped else text


# Findings -----------------------------------------------------------------------------------------

_Lines = Iterator[tuple[int | None, str]]
"""Lines, with the offset that stands in front of them."""


def _format_finding(finding: Finding, view: View) -> _Lines:
    match finding:
        case RequestFound():
            yield from _format_request(finding, view)
        case ResponseFound():
            yield from _format_response(finding, view)
        case ChunkFound():
            yield finding.offset, _format_chunk(finding)
            if view.payload and finding.payload:
                yield None, preview(finding.payload)
        case RawFound():
            yield finding.offset, f"{len(finding.payload)} bytes, not in chunks"
            if view.payload:
                yield None, preview(finding.payload)
        case ChunkDamaged():
            yield (
                finding.offset,
                f"chunk {finding.number}: DAMAGED, {finding.reason}; size {finding.size}",
            )
        case FrameFound(frame=frame):
            yield None, _format_frame(frame)
            if view.payload and isinstance(frame, New | Keep) and frame.data:
                yield None, preview(frame.data)
        case DatagramFound():
            yield None, f"packetaddr {finding.peer}, {len(finding.payload)} bytes"
            if view.payload:
                yield None, preview(finding.payload)
        case GapFound():
            yield finding.offset, f"the recording lacks {finding.size} bytes"
        case ContentUnreadable():
            yield None, f"CANNOT BE FOLLOWED: {finding.reason}"
        case Unreadable():
            yield finding.offset, f"CANNOT BE READ from here on: {finding.reason}"
        case Unrecognised():
            yield 0, f"not readable: {finding.reason}"
        case DirectionEnd():
            yield finding.offset, _format_end(finding)
        case _:
            assert_never(finding)


def _format_request(request: RequestFound, view: View) -> _Lines:
    header = request.header
    form = "AEAD header"
    if request.form is HeaderForm.LEGACY:
        form = f"legacy header, alter id {request.alter_id}"
        if not request.alter_id:
            form = "legacy header, main id"
    yield 0, f"request: {form}, {request.size} bytes"
    yield None, f"made {format_time(request.timestamp)}, {_format_clock(request, view)}"
    names = ", ".join(name_options(header.options)) or "none"
    options = f"options 0x{header.options:02x} ({names})"
    yield None, f"version 1, response byte 0x{header.response_auth:02x}, {options}"
    command = header.command.name.lower()
    if header.command is not Command.MUX:
        command += f" to {format_endpoint(header.destination.host, header.destination.port)}"
    padding = f"{len(header.padding)} bytes of padding"
    yield None, f"security {header.security.word}, {padding}, command {command}"
    if view.secrets:
        yield None, f"iv {header.body_iv.hex()}, key {header.body_key.hex()}"


def _format_clock(request: RequestFound, view: View) -> str:
    offset = request.timestamp - request.now
    if not offset:
        return f"the same time as {view.clock}"
    seconds = abs(offset)
    text = f"{seconds} s {'after' if offset > 0 else 'before'} {view.clock}"
    if seconds > _WINDOW:
        length = str(datetime.timedelta(seconds=seconds)) if seconds < 86_400_000_000 else "ages"
        text += f" ({length}; servers allow {_WINDOW} s)"
    return text


def _format_response(response: ResponseFound, view: View) -> _Lines:
    switch = response.header.switch_account
    if switch is not None:
        command = _format_switch(switch, view)
    elif response.command:
        command = f"command {response.command} that clients ignore"
    else:
        command = "no command"
    options = f"options 0x{response.header.options:02x}"
    yield 0, f"response: {response.size} bytes, {options}, {command}"


def _format_switch(switch: SwitchAccount, view: View) -> str:
    target = f"port {switch.port}"
    if switch.host is not None:
        target = format_endpoint(switch.host, switch.port)
    user_id = f" {format_user_id(switch.user_id)}" if view.secrets else ""
    return (
        f"command: use {target} for {switch.minutes} min, with the id{user_id}, "
        f"{switch.alter_id_count} alter ids and level {switch.level}"
    )


def _format_chunk(chunk: ChunkFound) -> str:
    parts = [f"payload {len(chunk.payload)}"]
    if chunk.overhead:
        # The tag of an AEAD, or the checksum of CFB.
        parts.append(f"{'tag' if chunk.overhead == 16 else 'checksum'} {chunk.overhead}")
    if chunk.padding:
        parts.append(f"padding {chunk.padding}")
    text = f"chunk {chunk.number}: size {chunk.size} = {' + '.join(parts)}"
    if chunk.sealed_size is not None:
        text += f", authenticated length {chunk.sealed_size}"
    return f"{text}; the terminator" if chunk.is_terminator else text


def _format_frame(frame: Frame) -> str:
    match frame:
        case New(session_id, destination, data, global_id):
            xudp = "xudp " if frame.is_extended else ""
            tail = f", global id {global_id.hex()}" if global_id else ""
            return f"mux new {session_id}, {xudp}{destination}{_format_size(data)}{tail}"
        case Keep(session_id, data, peer):
            with_peer = "" if peer is None else f", xudp {peer}"
            return f"mux keep {session_id}{with_peer}{_format_size(data)}"
        case End(session_id, is_error):
            return f"mux end {session_id}{', with an error' if is_error else ''}"
        case KeepAlive(session_id):
            return f"mux keep-alive {session_id}"
        case _:
            assert_never(frame)


def _format_size(data: bytes | None) -> str:
    return "" if data is None else f", {len(data)} bytes"


def _format_end(end: DirectionEnd) -> str:
    cause = _CAUSES[end.by]
    behind = f", and {end.unread} bytes behind it" if end.unread else ""
    match end.state:
        case EndState.NOTHING:
            return f"end: {cause}, without any bytes"
        case EndState.TERMINATED:
            return f"end: {cause} after the terminator{behind}"
        case EndState.BETWEEN_CHUNKS:
            return f"end: {cause} between two chunks, without a terminator"
        case EndState.IN_CHUNK:
            whole = "its size field is not whole" if end.needed is None else f"of {end.needed}"
            return f"end: {cause}, CUT OFF in chunk {end.chunk}: {end.held} bytes {whole}"
        case EndState.IN_HEADER:
            return f"end: {cause}, CUT OFF in the header: {end.held} bytes"
        case EndState.RAW:
            return f"end: {cause}"
        case EndState.UNREADABLE:
            return f"end: {cause}; {end.unread} bytes could not be read"
        case _:
            assert_never(end.state)
