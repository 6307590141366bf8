"""Every configuration in V2Ray's manual page on VMess and in the beginner's guide loads."""

import uuid
from ipaddress import IPv4Address

from trio_vmess.config import (
    DefaultUserSettings,
    FreedomOutboundSettings,
    InboundUserSettings,
    OutboundUserSettings,
    PortRange,
    SecurityName,
    SocksInboundSettings,
    VMessInboundSettings,
    VMessOutboundSettings,
    VMessServerSettings,
    check_role,
    parse_config,
)
from trio_vmess.core.sniff import SniffingSettings

MANUAL_ID = uuid.UUID("27848739-7e62-4138-9fd3-098a63964b6b").bytes
GUIDE_ID = uuid.UUID("b831381d-6324-4d53-ad4f-8cda48b30811").bytes

MANUAL_OUTBOUND = """
{
  "outbounds": [
    {
      "protocol": "vmess",
      "settings": {
        "vnext": [
          {
            "address": "127.0.0.1",
            "port": 37192,
            "users": [
              {
                "id": "27848739-7e62-4138-9fd3-098a63964b6b",
                "alterId": 4,
                "security": "auto",
                "level": 0
              }
            ]
          }
        ]
      }
    }
  ]
}
"""

MANUAL_INBOUND = """
{
  "inbounds": [
    {
      "port": 10086,
      "protocol": "vmess",
      "settings": {
        "clients": [
          {
            "id": "27848739-7e62-4138-9fd3-098a63964b6b",
            "level": 0,
            "alterId": 4,
            "email": "love@v2ray.com"
          }
        ],
        "default": {
          "level": 0,
          "alterId": 4
        },
        "detour": {
          "to": "tag_to_detour"
        },
        "disableInsecureEncryption": false
      }
    },
    {
      "port": "20000-20010",
      "protocol": "vmess",
      "tag": "tag_to_detour",
      "settings": {"clients": []},
      "allocate": {"strategy": "random"}
    }
  ],
  "outbounds": [{"protocol": "freedom"}]
}
"""

GUIDE_CLIENT = """
{
  "inbounds": [
    {
      "port": 1080, // Listening port
      "protocol": "socks", // Incoming protocol is SOCKS 5
      "sniffing": {
        "enabled": true,
        "destOverride": ["http", "tls"]
      },
      "settings": {
        "auth": "noauth"  // Authorisation setting of socks protocol. Here, noauth means none.
      }
    }
  ],
  "outbounds": [
    {
      "protocol": "vmess", // Outcoming protocol
      "settings": {
        "vnext": [
          {
            "address": "serveraddr.com", // Server address, you need to edit this.
            "port": 16823,  // Server listenning port.
            "users": [
              {
                "id": "b831381d-6324-4d53-ad4f-8cda48b30811",  // UUID, same as server side
                "alterId": 64 // AlterID should be as same as server side
              }
            ]
          }
        ]
      }
    }
  ]
}
"""

GUIDE_SERVER = """
{
  "inbounds": [
    {
      "port": 16823, // Server listening port
      "protocol": "vmess",    // Major incoming protocol
      "settings": {
        "clients": [
          {
            "id": "b831381d-6324-4d53-ad4f-8cda48b30811",  // UUID, the same on both sides.
            "alterId": 64
          }
        ]
      }
    }
  ],
  "outbounds": [
    {
      "protocol": "freedom",  // Majoy outcoming protocol.
      "settings": {}
    }
  ]
}
"""


def warned(config):
    """Return what the documents do that is open to strangers: nothing else is warned about."""
    return [each.where for each in config.warnings]


def test_the_manuals_outbound():
    config = parse_config(MANUAL_OUTBOUND)
    user = OutboundUserSettings(id=MANUAL_ID, alter_id=4, security=SecurityName.AUTO, level=0)
    server = VMessServerSettings(address=IPv4Address("127.0.0.1"), port=37192, users=(user,))
    assert config.outbounds[0].protocol == VMessOutboundSettings(servers=(server,))
    assert warned(config) == ["outbounds[0]"]


def test_every_security_word_of_the_manual():
    for word in ("aes-128-gcm", "chacha20-poly1305", "auto", "none"):
        config = parse_config(MANUAL_OUTBOUND.replace('"auto"', f'"{word}"'))
        assert config.outbounds[0].protocol.servers[0].users[0].security is SecurityName(word)


def test_the_manuals_inbound_with_detour():
    config = parse_config(MANUAL_INBOUND)
    assert config.inbounds[0].protocol == VMessInboundSettings(
        users=(InboundUserSettings(id=MANUAL_ID, level=0, alter_id=4, email="love@v2ray.com"),),
        default=DefaultUserSettings(level=0, alter_id=4),
        detour="tag_to_detour",
        disable_insecure_encryption=False,
    )
    assert config.inbounds[1].port == PortRange(20000, 20010)
    assert config.inbounds[1].protocol.default == DefaultUserSettings(level=0, alter_id=0)
    assert warned(config) == [
        "inbounds[0].settings.clients[0].alterId",
        "inbounds[0].settings.default",
    ]


def test_the_guides_client():
    config = parse_config(GUIDE_CLIENT)
    inbound = config.inbounds[0]
    assert inbound.protocol == SocksInboundSettings()
    assert inbound.port == PortRange(1080, 1080)
    assert inbound.listen == IPv4Address("0.0.0.0")
    assert inbound.sniffing == SniffingSettings(dest_override=("http", "tls"))
    server = config.outbounds[0].protocol.servers[0]
    assert (server.address, server.port) == ("serveraddr.com", 16823)
    assert server.users == (OutboundUserSettings(id=GUIDE_ID, alter_id=64),)
    assert warned(config) == ["inbounds[0].listen", "outbounds[0]"]
    check_role(config, "client")


def test_the_guides_server():
    config = parse_config(GUIDE_SERVER)
    inbound = config.inbounds[0]
    assert inbound.protocol == VMessInboundSettings(
        users=(InboundUserSettings(id=GUIDE_ID, alter_id=64),)
    )
    assert config.outbounds[0].protocol == FreedomOutboundSettings()
    assert config.log.access == "none"
    assert warned(config) == ["inbounds[0].settings.clients[0].alterId"]
    check_role(config, "server")
