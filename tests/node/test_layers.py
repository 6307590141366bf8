"""A node does not do something else than what its configuration says."""

import ipaddress

import attrs
import pytest

from trio_vmess.config import (
    Config,
    FallbackSettings,
    FreedomOutboundSettings,
    HttpInboundSettings,
    InboundSettings,
    OutboundSettings,
    StreamSettings,
    UnixSocket,
)
from trio_vmess.errors import ConfigError
from trio_vmess.node import Node

FALLBACK = FallbackSettings(target=(ipaddress.IPv4Address("127.0.0.1"), 80))
CONFIG = Config(
    inbounds=(InboundSettings(protocol=HttpInboundSettings(), listen=UnixSocket("@layers")),),
    outbounds=(OutboundSettings(protocol=FreedomOutboundSettings()),),
)


def test_a_fallback_is_refused():
    inbound = attrs.evolve(CONFIG.inbounds[0], stream=StreamSettings(fallback=FALLBACK))
    with pytest.raises(ConfigError, match=r"^inbounds\[0\]: .* not supported yet"):
        Node(attrs.evolve(CONFIG, inbounds=(inbound,)))
