"""Requests of the transports `http` and `grpc`, and which of them a server takes."""

import pytest

from tests.kit.entropy import SeededEntropy
from trio_vmess.core.carriage.http2 import GrpcTunnel, HttpTunnel, Request, Response

ENTROPY = SeededEntropy()


def http(path: str = "/tunnel", authority: str = "a.example") -> Request:
    return Request(method="PUT", scheme="https", authority=authority, path=path)


def grpc(path: str, *, method: str = "POST", kind: bytes = b"application/grpc") -> Request:
    return Request(
        method=method,
        scheme="http",
        authority="a.example",
        path=path,
        fields=((b"content-type", kind),),
    )


def test_a_client_asks_for_any_of_its_hosts() -> None:
    tunnel = HttpTunnel(hosts=("a.example", "b.example"))
    asked = {tunnel.request("node.example", 443, ENTROPY).authority for _ in range(50)}
    assert asked == {"a.example", "b.example"}


def test_without_hosts_the_address_is_asked_for_and_any_is_served() -> None:
    request = HttpTunnel().request("node.example", 8443, ENTROPY)
    assert request.authority == "node.example:8443"
    assert HttpTunnel().why_not(request) is None


def test_hosts_are_compared_with_their_port_but_without_case() -> None:
    tunnel = HttpTunnel(hosts=("A.example",), path="/tunnel")
    assert tunnel.why_not(http()) is None
    assert "a.example:443" in (tunnel.why_not(http(authority="a.example:443")) or "")


def test_a_path_may_go_on() -> None:
    tunnel = HttpTunnel(path="/tunnel")
    assert tunnel.why_not(http("/tunnel/more?x=y")) is None
    assert tunnel.why_not(http("/tunn")) is not None


@pytest.mark.parametrize(
    ("service", "single", "multi"),
    [
        ("GunService", "/GunService/Tun", "/GunService/TunMulti"),
        ("", "//Tun", "//TunMulti"),
        ("a/b c", "/a%2Fb%20c/Tun", "/a%2Fb%20c/TunMulti"),
        ("/a/b/one|more", "/a/b/one", "/a/b/more"),
        ("/one", "/one", "/one"),
    ],
)
def test_the_service_makes_the_paths(service: str, single: str, multi: str) -> None:
    for is_multi, path in ((False, single), (True, multi)):
        tunnel = GrpcTunnel(service=service, is_multi=is_multi)
        request = tunnel.request("a.example", 443, ENTROPY)
        assert request.path == path
        # A server takes both calls, whatever it would use itself.
        assert GrpcTunnel(service=service).why_not(request) is None


def test_a_call_has_path_method_and_type() -> None:
    tunnel = GrpcTunnel(service="S")
    assert tunnel.why_not(grpc("/S/Tun", kind=b"application/grpc+proto")) is None
    assert tunnel.why_not(grpc("/S/Tun/")) is not None
    assert tunnel.why_not(grpc("/S/Tun", method="PUT")) is not None
    assert tunnel.why_not(grpc("/S/Tun", kind=b"text/html")) is not None


def test_the_authority_can_be_set() -> None:
    assert GrpcTunnel(authority="x").request("a.example", 443, ENTROPY).authority == "x"


def test_what_is_no_success_is_told() -> None:
    assert "404" in (HttpTunnel().why_refused(Response(status=404)) or "")
    assert "404" in (GrpcTunnel().why_refused(Response(status=404)) or "")
    unknown = Response(status=200, fields=((b"grpc-status", b"12"),))
    assert "12" in (GrpcTunnel().why_refused(unknown) or "")
    assert GrpcTunnel().why_failed(GrpcTunnel().trailers) is None
