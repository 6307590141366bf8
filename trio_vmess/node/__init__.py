"""A running node: settings become objects, and objects become tasks."""

from trio_vmess.node.assets import Assets
from trio_vmess.node.clock import utc_seconds
from trio_vmess.node.dialling import Dialler
from trio_vmess.node.dns import FlowDialer, make_system_resolver
from trio_vmess.node.endpoints import Assembler
from trio_vmess.node.layers import Around, LayerBuilder, OutboundLayer
from trio_vmess.node.node import Listening, Node
from trio_vmess.node.routing import default_tags_of, make_router, rule_name

__all__ = [
    "Around",
    "Assembler",
    "Assets",
    "Dialler",
    "FlowDialer",
    "LayerBuilder",
    "Listening",
    "Node",
    "OutboundLayer",
    "default_tags_of",
    "make_router",
    "make_system_resolver",
    "rule_name",
    "utc_seconds",
]
