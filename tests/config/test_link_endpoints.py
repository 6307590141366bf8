"""What a share link says of a transport becomes settings, and settings become a link."""

import uuid

import attrs
import pytest

from tests.config.test_share_link import FIELDS, ID, pack
from trio_vmess.config import (
    PLAIN_STREAM,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpRequestSettings,
    HttpUpgradeSettings,
    OutboundUserSettings,
    SecurityName,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    VMessOutboundSettings,
    VMessServerSettings,
    WebSocketSettings,
    format_share_link,
    parse_share_link,
    server_share_link,
    share_link_outbound,
    with_stream,
)
from trio_vmess.errors import ConfigError

LINK = parse_share_link(pack(FIELDS))


def stream_of(**fields):
    return share_link_outbound(parse_share_link(pack(FIELDS | fields))).stream


def test_a_link_becomes_an_outbound():
    link = parse_share_link(pack(FIELDS | {"aid": "4", "scy": "zero"}))
    outbound = share_link_outbound(link, tag="proxy")
    user = OutboundUserSettings(id=uuid.UUID(ID).bytes, alter_id=4, security=SecurityName.ZERO)
    assert outbound.tag == "proxy"
    assert outbound.stream == PLAIN_STREAM
    assert outbound.protocol == VMessOutboundSettings(
        servers=(VMessServerSettings(address="a.b", port=1, users=(user,)),)
    )


@pytest.mark.parametrize(
    ("fields", "carrier"),
    [
        ({"net": "ws"}, WebSocketSettings()),
        (
            {"net": "ws", "path": "p?ed=2048&x=1", "host": "c.d"},
            WebSocketSettings(path="/p?x=1", host="c.d", max_early_data=2048),
        ),
        (
            {"net": "httpupgrade", "path": "/p?ed=2560", "host": "c.d"},
            HttpUpgradeSettings(path="/p", host="c.d", is_eager=True),
        ),
        (
            {"net": "h2", "path": "/p", "host": "c.d, e.f"},
            Http2Settings(path="/p", hosts=("c.d", "e.f")),
        ),
        (
            {"net": "grpc", "path": "svc", "type": "multi", "host": "c.d"},
            GrpcSettings(service_name="svc", is_multi=True, authority="c.d"),
        ),
        ({"net": "grpc", "path": "svc", "type": "gun"}, GrpcSettings(service_name="svc")),
        (
            {"type": "http", "path": "/a,/b"},
            TcpSettings(header=HttpHeaderSettings(request=HttpRequestSettings(paths=("/a", "/b")))),
        ),
    ],
)
def test_each_transport_of_a_link(fields, carrier):
    assert stream_of(**fields) == StreamSettings(carrier=carrier)


def test_the_hosts_of_camouflage_go_with_the_headers_of_a_browser():
    request = stream_of(type="http", host="c.d,e.f").carrier.header.request
    assert request.headers["Host"] == ("c.d", "e.f")
    assert {"User-Agent", "Accept-Encoding", "Connection", "Pragma"} < request.headers.keys()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, ""),
        ({"sni": "s.t"}, "s.t"),
        ({"sni": "s.t", "host": "c.d"}, "s.t"),
        ({"host": "c.d"}, "c.d"),
        ({"host": "c.d:8443"}, "c.d"),
        ({"host": "c.d,e.f", "net": "h2"}, "c.d"),
        ({"host": "not a name"}, ""),
    ],
)
def test_the_server_name_is_the_sni_or_else_the_host(fields, name):
    assert stream_of(**{"net": "ws", "tls": "tls"} | fields).tls.server_name == name


def test_the_tls_fields_of_a_link():
    tls = stream_of(net="grpc", tls="tls", alpn="h2,http/1.1", fp="chrome", allowInsecure="1").tls
    assert tls == TlsSettings(alpn=("h2", "http/1.1"), allow_insecure=True)
    assert stream_of(net="ws", tls="tls", alpn="h2,http/1.1").tls.alpn == ("http/1.1",)
    assert stream_of(tls="none").tls is None


def test_the_url_form_has_the_same_words():
    text = f"vmess://{ID}@a.b:443?type=ws&security=tls&path=%2Fp%3Fed%3D64&host=c.d&sni=e.f&alpn=h2"
    assert share_link_outbound(parse_share_link(text)).stream == StreamSettings(
        carrier=WebSocketSettings(path="/p", host="c.d", max_early_data=64),
        tls=TlsSettings(server_name="e.f", alpn=("http/1.1",)),
    )


@pytest.mark.parametrize(
    ("fields", "where", "message"),
    [
        ({"net": "kcp"}, ["net"], "the transport 'kcp' is not supported; use 'ws' or 'tcp'"),
        ({"net": "quic"}, ["net"], "'quic' is not supported; use 'grpc' or 'h2'"),
        ({"net": "xhttp"}, ["net"], "'xhttp' is not supported"),
        ({"tls": "reality"}, ["tls"], "REALITY is not supported; use 'tls'"),
        ({"tls": "xtls"}, ["tls"], "XTLS is not supported; use 'tls'"),
        ({"tls": "ssl"}, ["tls"], "unknown security 'ssl'"),
        ({"type": "srtp"}, ["type"], "expected one of none, http"),
        ({"net": "grpc", "type": "guna"}, ["type"], "did you mean 'gun'?"),
        ({"net": "ws", "path": "/?ed=lots"}, ["path"], "expected a number of bytes"),
        ({"tls": "tls", "sni": "not a name"}, ["sni"], "neither an IP address nor a domain name"),
        ({"net": "kcp", "tls": "reality"}, ["net", "tls"], "kcp"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(fields, where, message):
    with pytest.raises(ConfigError) as caught:
        stream_of(**fields)
    assert [each.where for each in caught.value.problems] == where
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "carrier",
    [
        TcpSettings(),
        TcpSettings(header=HttpHeaderSettings()),
        WebSocketSettings(path="/p?x=1", host="c.d", max_early_data=2048),
        WebSocketSettings(path="/p", max_early_data=2048),
        HttpUpgradeSettings(path="/p", host="c.d", is_eager=True),
        Http2Settings(hosts=("c.d", "e.f"), path="/p"),
        GrpcSettings(service_name="svc", is_multi=True, authority="c.d"),
        GrpcSettings(service_name="/a/b/c|d"),
    ],
)
@pytest.mark.parametrize("tls", [None, TlsSettings(server_name="s.t", alpn=("http/1.1",))])
def test_a_written_transport_is_read_again(carrier, tls):
    stream = StreamSettings(carrier=carrier, tls=tls)
    text = format_share_link(with_stream(LINK, stream))
    assert share_link_outbound(parse_share_link(text)).stream == stream


def test_the_hosts_of_camouflage_are_written():
    headers = {"host": ("c.d", "e.f"), "X-Other": ("1",)}
    request = HttpRequestSettings(paths=("/a", "/b"), headers=headers)
    carrier = TcpSettings(header=HttpHeaderSettings(request=request))
    link = with_stream(LINK, StreamSettings(carrier=carrier))
    assert (link.header_type, link.host, link.path) == ("http", "c.d,e.f", "/a,/b")


def test_early_data_in_the_path_has_no_place_in_a_link():
    carrier = WebSocketSettings(path="/p", max_early_data=2048, early_data_header="")
    assert with_stream(LINK, StreamSettings(carrier=carrier)).path == "/p"


def test_a_plain_stream_takes_a_transport_out_of_a_link():
    link = with_stream(LINK, StreamSettings(carrier=WebSocketSettings(), tls=TlsSettings()))
    assert with_stream(link, PLAIN_STREAM) == LINK
    assert with_stream(LINK, PLAIN_STREAM) == LINK
    assert attrs.evolve(link, network="tcp", path="", tls="") == LINK


def test_the_link_of_a_server_leads_through_its_transport():
    stream = StreamSettings(carrier=WebSocketSettings(path="/p"), tls=TlsSettings())
    text = server_share_link(
        host="a.b",
        port=443,
        user_id=uuid.UUID(ID).bytes,
        alter_id=0,
        security=SecurityName.AUTO,
        name="",
        stream=stream,
    )
    assert share_link_outbound(parse_share_link(text)).stream == stream
