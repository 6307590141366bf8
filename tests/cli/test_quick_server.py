"""The transport of `trio-vmess server` without a file, and of its link."""

import ipaddress
from collections.abc import Sequence

import attrs
import pytest

from tests.kit.certificates import der_of, issue
from trio_vmess.cli.arguments import ServerArguments
from trio_vmess.cli.parser import parse_arguments
from trio_vmess.cli.quick_server import client_stream, find_doubts, server_stream
from trio_vmess.config import PLAIN_STREAM, TcpSettings, WebSocketSettings
from trio_vmess.core import Host
from trio_vmess.core.x509 import Certificate, read_certificate

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


def arguments(*flags: str) -> ServerArguments:
    parsed = parse_arguments(["server", *flags])
    assert isinstance(parsed, ServerArguments)
    return parsed


def certificate_for(*names: str) -> Certificate:
    return read_certificate(der_of(issue(*names)))


def test_without_flags_there_is_bare_tcp() -> None:
    assert server_stream(arguments()) == PLAIN_STREAM
    assert client_stream(arguments(), LOOPBACK, None) == PLAIN_STREAM


def test_a_web_socket_with_tls() -> None:
    flags = arguments("--ws", "/tunnel", "--tls", "server.pem", "server.key")
    for_server = server_stream(flags)
    assert for_server.tls is not None
    (own,) = for_server.tls.certificates
    assert (own.certificate_file, own.key_file) == ("server.pem", "server.key")
    for_client = client_stream(flags, "a.example", certificate_for("a.example"))
    assert for_client.tls is not None
    assert not for_client.tls.certificates
    assert for_server.carrier == for_client.carrier == WebSocketSettings(path="/tunnel")


@pytest.mark.parametrize(
    ("host", "names", "expected"),
    [
        ("a.example", ["a.example", "b.example"], ""),
        ("c.example", ["a.example"], ""),
        (LOOPBACK, ["a.example", "b.example"], "a.example"),
        (LOOPBACK, ["*.example", "b.example"], "b.example"),
        (LOOPBACK, ["*.example"], ""),
        (LOOPBACK, ["a.example", "127.0.0.1"], ""),
    ],
)
def test_the_server_name_of_the_link(host: Host, names: Sequence[str], expected: str) -> None:
    tls = client_stream(arguments(), host, certificate_for(*names)).tls
    assert tls is not None
    assert tls.server_name == expected
    assert isinstance(client_stream(arguments(), host, None).carrier, TcpSettings)


@pytest.mark.parametrize(
    ("host", "names", "is_doubtful"),
    [
        ("a.example", ["a.example"], False),
        ("a.example", ["*.example"], False),
        (LOOPBACK, ["a.example"], False),
        (LOOPBACK, ["127.0.0.1"], False),
        ("c.example", ["a.example"], True),
        (LOOPBACK, ["*.example"], True),
    ],
)
def test_a_certificate_for_another_name(
    host: Host, names: Sequence[str], is_doubtful: bool
) -> None:
    doubts = list(find_doubts(certificate_for(*names), host))
    assert len(doubts) == is_doubtful
    assert all(f"is not for {host}: clients refuse it; set --name" in each for each in doubts)


def test_a_self_signed_certificate() -> None:
    issued = certificate_for("a.example")
    own = attrs.evolve(issued, issuer=issued.subject)
    (doubt,) = find_doubts(own, "a.example")
    assert "is self-signed" in doubt
    assert own.fingerprint.hex() in doubt
