"""A node does not run in the clear what its configuration wants to be carried otherwise."""

import attrs
import pytest

from trio_vmess.config import (
    Config,
    FreedomOutboundSettings,
    HttpInboundSettings,
    InboundSettings,
    OutboundSettings,
    SocketSettings,
    StreamSettings,
    UnixSocket,
)
from trio_vmess.errors import ConfigError
from trio_vmess.node import Node

CONFIG = Config(
    inbounds=(InboundSettings(protocol=HttpInboundSettings(), listen=UnixSocket("@layers")),),
    outbounds=(OutboundSettings(protocol=FreedomOutboundSettings()),),
)
STREAMS = [
    StreamSettings(unix=UnixSocket("@server")),
    StreamSettings(socket=SocketSettings(mark=1)),
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("side", ["inbounds", "outbounds"])
def test_layers_are_refused(side, stream):
    changed = tuple(attrs.evolve(each, stream=stream) for each in getattr(CONFIG, side))
    with pytest.raises(ConfigError, match="not supported yet") as caught:
        Node(attrs.evolve(CONFIG, **{side: changed}))
    assert caught.value.problems[0].where.startswith(f"{side}[0]")


def test_permissions_of_a_socket_are_refused():
    listen = UnixSocket("/run/trio-vmess/layers.sock", mode=0o600)
    inbound = attrs.evolve(CONFIG.inbounds[0], listen=listen)
    with pytest.raises(ConfigError, match=r"^inbounds\[0\]\.listen: .* not supported yet"):
        Node(attrs.evolve(CONFIG, inbounds=(inbound,)))
