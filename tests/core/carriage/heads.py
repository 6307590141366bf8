"""Requests and answers by hand, for the tests of HTTP heads."""

from collections.abc import Iterable
from typing import Any

from trio_vmess.core import NEED_DATA
from trio_vmess.core.carriage.upgrade import (
    NotSwitched,
    Refused,
    Switched,
    UpgradeClient,
    Upgraded,
    UpgradeRules,
    UpgradeServer,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455 section 1.3."""

WEBSOCKET = {
    "Host": "node.example",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def request(
    target: str = "/tunnel",
    *,
    method: str = "GET",
    version: str = "1.1",
    without: Iterable[str] = (),
    **headers: str,
) -> bytes:
    """Write a WebSocket's request, with headers changed (`_` for `-`), added or left out."""
    given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    names = {name.lower(): (name, value) for name, value in WEBSOCKET.items()}
    for name, value in given.items():
        names[name] = (names.get(name, (name, ""))[0], value)
    lines = [f"{name}: {value}" for key, (name, value) in names.items() if key not in without]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


def judge(wire: bytes, *, step: int = 1 << 20, **rules: Any) -> Upgraded | Refused:
    """Let a server judge the first request of a wire that comes in pieces."""
    server = UpgradeServer(UpgradeRules(**{"path": "/tunnel", **rules}))
    for start in range(0, len(wire), step):
        server.receive_data(wire[start : start + step])
        event = server.next_event()
        if event is not NEED_DATA:
            server.receive_data(wire[start + step :])
            return event
    raise AssertionError("no head")


def upgrade(wire: bytes, **rules: Any) -> Upgraded:
    event = judge(wire, **rules)
    assert isinstance(event, Upgraded), event
    return event


def refuse(wire: bytes, **rules: Any) -> Refused:
    event = judge(wire, **rules)
    assert isinstance(event, Refused)
    return event


def hear(client: UpgradeClient, wire: bytes, *, step: int = 1 << 20) -> Switched | NotSwitched:
    """Let a client read an answer that comes in pieces."""
    event: object = NEED_DATA
    for start in range(0, len(wire), step):
        client.receive_data(wire[start : start + step])
        if event is NEED_DATA:
            event = client.next_event()
    assert isinstance(event, Switched | NotSwitched)
    return event
