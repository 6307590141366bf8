"""What becomes of a flow when something was found, and the key derivation that finding needs."""

import pytest

from trio_vmess.core import Destination, Flow, Network, User, parse_host
from trio_vmess.core.crypto import hkdf_expand, hkdf_extract
from trio_vmess.core.sniff import Sniffed, SniffingSettings

ADDRESS = Destination(host=parse_host("192.0.2.1"), port=8443, network=Network.UDP)
FLOW = Flow(destination=ADDRESS, inbound_tag="in", user=User(email="ann@example.com", level=2))


@pytest.mark.parametrize(
    ("settings", "protocol", "domain", "replaced", "for_routing"),
    [
        (SniffingSettings(dest_override=("http", "tls")), "http1", "a.example", True, True),
        (SniffingSettings(dest_override=("http", "tls")), "tls", "a.example", True, True),
        (SniffingSettings(dest_override=("http",)), "tls", "a.example", False, False),
        (SniffingSettings(dest_override=("quic",)), "quic", "a.example", True, True),
        (SniffingSettings(), "tls", "a.example", False, False),
        (
            SniffingSettings(dest_override=("tls",), route_only=True),
            "tls",
            "a.example",
            False,
            True,
        ),
        (SniffingSettings(dest_override=("tls",)), "tls", None, False, False),
    ],
)
def test_the_host_is_replaced_if_configured(
    settings: SniffingSettings,
    protocol: str,
    domain: str | None,
    replaced: bool,
    for_routing: bool,
) -> None:
    flow = settings.apply(FLOW, Sniffed(protocol=protocol, domain=domain))
    assert flow.sniffed_protocol == protocol
    assert flow.sniffed_domain == ("a.example" if for_routing else "")
    assert flow.destination.host == ("a.example" if replaced else ADDRESS.host)
    assert (flow.destination.port, flow.destination.network) == (8443, Network.UDP)
    assert (flow.inbound_tag, flow.user) == ("in", FLOW.user)


def test_hkdf_as_the_standard_has_it() -> None:
    """RFC 5869, appendix A.1."""
    key = hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    assert key.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    assert hkdf_expand(key, bytes(range(0xF0, 0xFA)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf_expand(key, b"x", 82)[:40] == hkdf_expand(key, b"x", 40)
    assert len(hkdf_expand(key, b"x", 82)) == 82
