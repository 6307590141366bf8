"""The objects of V2Ray's manual pages on routing, policy, statistics and sniffing, in one node.

The rule is the manual's own, without `attrs` (an expression in Starlark, which is refused with a
word about it) and without the second tag (a rule has one).
"""

import json
from pathlib import Path

import pytest

from tests.kit.nodes import start_node, start_server_node
from tests.kit.origin import start_echo
from tests.kit.peer_specs import ServerSpec
from tests.kit.resolver import TableResolver
from tests.kit.socks_client import open_socks_stream
from tests.routing.dat import write_geoip, write_geosite
from trio_vmess.config import load_config
from trio_vmess.core.vmess import format_user_id, parse_user_id
from trio_vmess.errors import ConfigError
from trio_vmess.node.node import Node

USER_ID = format_user_id(parse_user_id(ServerSpec().user_id))

PAGES = """
{
  "log": {"loglevel": "warning", "access": "none"},
  "stats": {},
  "policy": {
    "levels": {
      "0": {
        "handshake": 4,
        "connIdle": 300,
        "uplinkOnly": 2,
        "downlinkOnly": 5,
        "statsUserUplink": true,
        "statsUserDownlink": true,
        "bufferSize": 10240
      }
    },
    "system": {
      "statsInboundUplink": true,
      "statsInboundDownlink": true,
      "statsOutboundUplink": true,
      "statsOutboundDownlink": true
    }
  },
  "inbounds": [{
    "tag": "tag-socks", "listen": "127.0.0.1", "port": 0, "protocol": "socks",
    "sniffing": {"enabled": true, "destOverride": ["http", "tls"]},
    "settings": {"auth": "noauth", "udp": false, "ip": "127.0.0.1", "userLevel": 0}
  }],
  "outbounds": [
    {"tag": "proxy", "protocol": "vmess", "settings": {"vnext": [
      {"address": "127.0.0.1", "port": 0, "users": [{"id": "", "alterId": 0}]}]}},
    {"tag": "direct", "protocol": "freedom", "settings": {"domainStrategy": "AsIs"}}
  ],
  "routing": {
    "domainStrategy": "AsIs",
    "rules": [
      {
        "type": "field",
        "domain": ["baidu.com", "qq.com", "geosite:cn"],
        "outboundTag": "direct"
      },
      {
        "type": "field",
        "ip": ["0.0.0.0/8", "10.0.0.0/8", "fc00::/7", "fe80::/10", "geoip:cn"],
        "port": "0-65535",
        "network": "tcp",
        "source": ["127.0.0.1"],
        "inboundTag": ["tag-socks"],
        "protocol": ["http", "tls", "bittorrent"],
        "outboundTag": "direct"
      }
    ],
    "balancers": []
  }
}
"""


def write_pages(folder: Path, server_port: int, **changes: object) -> Path:
    pages = json.loads(PAGES)
    server = pages["outbounds"][0]["settings"]["vnext"][0]
    server["port"], server["users"][0]["id"] = server_port, USER_ID
    pages["routing"]["rules"][1] |= changes
    (folder / "geoip.dat").write_bytes(write_geoip({"CN": ["127.0.0.3/32"]}))
    (folder / "geosite.dat").write_bytes(write_geosite({"CN": ["domain:local.example"]}))
    file = folder / "config.json"
    file.write_text(json.dumps(pages), "utf-8")
    return file


async def test_the_manuals_objects_work_together(tmp_path: Path) -> None:
    TableResolver(
        {name: ["127.0.0.1"] for name in ("www.qq.com", "a.local.example", "www.example")}
    ).use()
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.3\r\n\r\n"
    async with start_echo(host="0.0.0.0") as origin, start_server_node(ServerSpec()) as server:
        config = load_config(str(write_pages(tmp_path, server.port)))
        async with start_node(config) as client:
            outbounds = {}
            for host, first_bytes in (
                ("www.qq.com", b"x"),
                ("a.local.example", b"x"),
                ("www.example", b"x"),
                ("127.0.0.3", b"x"),
                ("127.0.0.3", head),
            ):
                async with await open_socks_stream(client.port, host, origin.port) as stream:
                    await stream.send_all(first_bytes)
                    assert await stream.receive_some() == first_bytes
                    (running,) = client.node.connections
                    outbounds[host, first_bytes] = running.outbound_tag
            assert list(outbounds.values()) == ["direct", "direct", "proxy", "proxy", "direct"]
            assert client.node.statistics is not None
            counters = client.node.statistics.read(client.node.connections, reset=False)
    assert counters["inbound>>>tag-socks>>>traffic>>>uplink"] == 4 + len(head)
    assert counters["outbound>>>proxy>>>traffic>>>downlink"] == 2


def test_the_manuals_expression_is_taken_and_other_starlark_is_not(tmp_path: Path) -> None:
    Node(load_config(str(write_pages(tmp_path, 1, attrs="attrs[':method'] == 'GET'"))))
    file = write_pages(tmp_path, 1, attrs="len(attrs[':path']) > 3")
    with pytest.raises(ConfigError, match=r"routing\.rules\[1\]\.attrs"):
        Node(load_config(str(file)))
