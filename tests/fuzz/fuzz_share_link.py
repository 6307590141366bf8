"""Fuzz the reader of share links.

An input is a link; but behind the first byte 'j' it is the JSON inside one.
"""

import base64
import json
from typing import Final

import attrs

from tests.kit.vectors import VECTORS
from trio_vmess.config import format_share_link, parse_share_link, share_link_outbound
from trio_vmess.config.link_endpoints import with_stream
from trio_vmess.errors import ConfigError

_STORED: Final = json.loads((VECTORS / "share_links.json").read_text("utf-8"))
_ID: Final = b"b831381d-6324-4d53-ad4f-8cda48b30811"

SEEDS: Final = (
    *(b"j" + json.dumps(vector["json"]).encode() for vector in _STORED["vectors"]),
    *(vector["link"].encode() for vector in _STORED["vectors"][:2]),
    b'j{"v": 1, "add": "a.b", "port": 1, "id": "x", "net": "ws", "host": "/path;b.c", "aid": null}',
    b'j{"v": "2", "add": "::1", "port": "1", "id": "x", "tls": "none", "insecure": true}',
    b"vmess://" + _ID + b"@192.0.2.1:443?type=tcp&encryption=auto&aid=0#a%20name",
    b"vmess://" + _ID + b"@[2001:db8::1]:443?type=grpc&mode=gun&serviceName=a&authority=b.c",
    b"vmess://x@a.b:1?type=quic&quicSecurity=none&key=k&headerType=wechat-video&security=tls",
    b"vmess://x@a.b:1?type=kcp&seed=s&alpn=h2,http/1.1&sni=c.d&fp=chrome&allowInsecure=1",
    b"VMESS://\nYXV0bzp4QGEuYjox\n",
)
TOKENS: Final = (
    *(f'"{key}": '.encode() for vector in _STORED["vectors"][:1] for key in vector["json"]),
    *(b"vmess://", b"&security=", b"&type=", b"&host=", b"&path=", b"\\ud800", b"%ed%a0%80"),
)  # fmt: skip


_OTHER_ID: Final = "00000000-0000-0000-0000-000000000000"


def to_text(data: bytes) -> str:
    """Return the link that an input stands for; bytes beyond UTF-8 come as in `sys.argv`."""
    if data[:1] == b"j":
        return "vmess://" + base64.b64encode(data[1:]).decode("ascii")
    return data.decode("utf-8", "surrogateescape")


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `ConfigError` comes out; what can be read can be written, and is the same when
    it is read again; the id, a secret, is in no text for people; and an outbound has the encryption
    and the transport of its link.
    """
    try:
        link = parse_share_link(to_text(data))
    except ConfigError:
        return
    # Whoever puts the id into another field, such as the name, has shown it already.
    others = repr(attrs.evolve(link, uuid=_OTHER_ID))
    if link.uuid in repr(link) and link.uuid not in others:
        raise ValueError(f"{link!r} shows the id")
    if parse_share_link(format_share_link(link)) != link:
        raise ValueError(f"{link!r} does not survive a round trip")
    try:
        outbound = share_link_outbound(link)
    except ConfigError:
        return
    if (outbound.stream.tls is None) is not (link.tls == ""):
        raise ValueError(f"{link!r} gains or loses its encryption")
    again = with_stream(link, outbound.stream)
    if again.network != link.network or share_link_outbound(again) != outbound:
        raise ValueError(f"{link!r} leads elsewhere when it is written from its outbound")
