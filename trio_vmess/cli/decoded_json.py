"""What `decode --json` prints: an object on a line for each finding."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from trio_vmess.cli.decoded_text import PREVIEW_SIZE, View, name_options
from trio_vmess.core import Destination
from trio_vmess.core.dissection import (
    ChunkDamaged,
    ChunkFound,
    ContentUnreadable,
    DatagramFound,
    DirectionEnd,
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
from trio_vmess.core.vmess import SwitchAccount, format_user_id
from trio_vmess.diagnosis.decode import Entry, Record, RecordedConnection, Summary

_Fields = Mapping[str, Any]


def format_json(entry: Entry, view: View) -> Iterator[str]:
    """Yield the line of something that `decode` has found."""
    yield json.dumps(_entry(entry, view))


def _entry(entry: Entry, view: View) -> _Fields:
    match entry:
        case RecordedConnection():
            return {
                "kind": "connection",
                "connection": entry.number,
                "client": entry.client,
                "server": entry.server,
                "time": entry.time,
                "has_beginning": entry.has_beginning,
            }
        case Record():
            return {
                "connection": entry.connection,
                "from": entry.direction.value,
                **_finding(entry.finding, view),
            }
        case Summary():
            return {
                "kind": "summary",
                "connections": entry.connections,
                "recognised": entry.recognised,
                "skipped": dict(entry.skipped),
            }
        case _:
            assert_never(entry)


def _finding(finding: Finding, view: View) -> _Fields:
    def head(data: bytes) -> _Fields:
        return {"payload": data[:PREVIEW_SIZE].hex()} if view.payload else {}

    match finding:
        case RequestFound():
            return _request(finding, view)
        case ResponseFound():
            return _response(finding, view)
        case ChunkFound():
            return {
                "kind": "chunk",
                "offset": finding.offset,
                "number": finding.number,
                "size": finding.size,
                "authenticated_length": finding.sealed_size,
                "overhead": finding.overhead,
                "padding": finding.padding,
                "payload_size": len(finding.payload),
                "is_terminator": finding.is_terminator,
                **head(finding.payload),
            }
        case ChunkDamaged():
            return {
                "kind": "damaged",
                "offset": finding.offset,
                "number": finding.number,
                "size": finding.size,
                "padding": finding.padding,
                "reason": finding.reason,
            }
        case RawFound():
            return {
                "kind": "raw",
                "offset": finding.offset,
                "payload_size": len(finding.payload),
                **head(finding.payload),
            }
        case FrameFound(frame=frame):
            data = frame.data if isinstance(frame, New | Keep) else None
            return {
                "kind": "frame",
                **_frame(frame),
                "payload_size": None if data is None else len(data),
                **head(data or b""),
            }
        case DatagramFound():
            return {
                "kind": "datagram",
                "peer": _destination(finding.peer),
                "payload_size": len(finding.payload),
                **head(finding.payload),
            }
        case GapFound():
            return {"kind": "gap", "offset": finding.offset, "size": finding.size}
        case ContentUnreadable():
            return {"kind": "unreadable content", "reason": finding.reason}
        case Unreadable():
            return {"kind": "unreadable", "offset": finding.offset, "reason": finding.reason}
        case Unrecognised():
            return {
                "kind": "unrecognised",
                "protocol": finding.protocol,
                "reason": finding.reason,
            }
        case DirectionEnd():
            return {
                "kind": "end",
                "offset": finding.offset,
                "by": finding.by.value,
                "state": finding.state.value,
                "chunk": finding.chunk,
                "held": finding.held,
                "needed": finding.needed,
                "unread": finding.unread,
            }
        case _:
            assert_never(finding)


def _request(request: RequestFound, view: View) -> _Fields:
    header = request.header
    keys = {"iv": header.body_iv.hex(), "key": header.body_key.hex()} if view.secrets else {}
    return {
        "kind": "request",
        "offset": 0,
        "size": request.size,
        "form": request.form.value,
        "alter_id": request.alter_id,
        "timestamp": request.timestamp,
        "clock_offset": request.timestamp - request.now,
        "version": 1,
        "response_auth": header.response_auth,
        "options": header.options,
        "option_names": name_options(header.options),
        "security": header.security.word,
        "padding": len(header.padding),
        "command": header.command.name.lower(),
        **_destination(header.destination),
        **keys,
    }


def _destination(destination: Destination) -> _Fields:
    return {
        "network": destination.network.value,
        "host": str(destination.host),
        "port": destination.port,
    }


def _response(response: ResponseFound, view: View) -> _Fields:
    switch = response.header.switch_account
    return {
        "kind": "response",
        "offset": 0,
        "size": response.size,
        "options": response.header.options,
        "command": response.command,
        "switch_account": None if switch is None else _switch(switch, view),
    }


def _switch(switch: SwitchAccount, view: View) -> _Fields:
    return {
        "host": None if switch.host is None else str(switch.host),
        "port": switch.port,
        "alter_id": switch.alter_id_count,
        "level": switch.level,
        "minutes": switch.minutes,
        **({"id": format_user_id(switch.user_id)} if view.secrets else {}),
    }


def _frame(frame: Frame) -> _Fields:
    match frame:
        case New():
            return {
                "status": "new",
                "session": frame.session_id,
                "target": _destination(frame.destination),
                "is_xudp": frame.is_extended,
                "global_id": frame.global_id.hex(),
            }
        case Keep():
            peer = None if frame.peer is None else _destination(frame.peer)
            return {"status": "keep", "session": frame.session_id, "peer": peer}
        case End():
            return {"status": "end", "session": frame.session_id, "is_error": frame.is_error}
        case KeepAlive():
            return {"status": "keep-alive", "session": frame.session_id}
        case _:
            assert_never(frame)
