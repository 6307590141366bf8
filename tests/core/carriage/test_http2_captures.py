"""Whole connections of V2Ray, Xray and sing-box, read by our ends."""

from typing import Any

from tests.core.carriage.http2_pair import REQUEST, read_all, receive
from tests.kit.vectors import for_each, load, unpack
from trio_vmess.core.carriage.grpc import MessageReader
from trio_vmess.core.carriage.http2 import (
    GrpcTunnel,
    Http2Connection,
    HttpTunnel,
    RequestReceived,
    StreamReset,
)

CAPTURES = [*load("transport_h2"), *load("transport_grpc")]


def payload_of(capture: dict[str, Any], data: bytes) -> bytes:
    if capture["transport"] == "http/2":
        return data
    buffer = memoryview(bytearray(data))
    reader = MessageReader()
    size = reader.unframe(buffer, len(buffer))
    assert reader.is_between_messages
    return bytes(buffer[:size])


@for_each(CAPTURES)
def test_our_server_reads_what_clients_send(capture: dict[str, Any]) -> None:
    for step in (None, 1, 11):
        server = Http2Connection(is_client=False)
        seen = receive(server, unpack(capture["client_to_server"]), step=step)
        stream = next(each.stream for each in seen if isinstance(each, RequestReceived))
        assert payload_of(capture, read_all(server, stream)) == unpack(capture["client_payload"])
        ends = [each for each in capture["client_frames"] if each["type"] == "RST_STREAM"]
        assert [stream.reset_code] == ([each["error"] for each in ends] or [None])
        assert any(isinstance(each, StreamReset) for each in seen) == bool(ends)


@for_each(CAPTURES)
def test_our_client_reads_what_servers_send(capture: dict[str, Any]) -> None:
    client = Http2Connection(is_client=True)
    stream = client.open_stream(REQUEST)
    receive(client, unpack(capture["server_to_client"]), step=7)
    assert stream.response is not None
    assert payload_of(capture, read_all(client, stream)) == unpack(capture["server_payload"])
    tunnel = HttpTunnel() if capture["transport"] == "http/2" else GrpcTunnel()
    assert tunnel.why_refused(stream.response) is None


@for_each(CAPTURES)
def test_our_server_takes_the_requests_of_all_clients(capture: dict[str, Any]) -> None:
    server = Http2Connection(is_client=False)
    seen = receive(server, unpack(capture["client_to_server"]))
    request = next(each.stream.request for each in seen if isinstance(each, RequestReceived))
    if capture["transport"] == "http/2":
        assert HttpTunnel(hosts=("node.example",), path="/tunnel").why_not(request) is None
        assert HttpTunnel(hosts=("other.example",)).why_not(request) is not None
    else:
        assert GrpcTunnel(service="GunService").why_not(request) is None
        assert GrpcTunnel(service="Other").why_not(request) is not None
