import base64
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.vectors import VECTORS, load, name_of
from trio_vmess.config import (
    PacketEncoding,
    SecurityName,
    ShareLink,
    VMessOutboundSettings,
    format_share_link,
    parse_share_link,
    share_link_outbound,
)
from trio_vmess.errors import ConfigError

ID = "b831381d-6324-4d53-ad4f-8cda48b30811"
FIELDS = {"v": "2", "add": "a.b", "port": "1", "id": ID}
INVALID = json.loads((VECTORS / "share_links.json").read_text("utf-8"))["invalid"]


def pack(fields):
    data = fields if isinstance(fields, str) else json.dumps(fields)
    return "vmess://" + base64.b64encode(data.encode()).decode()


def normal_form(link):
    fields = attrs.asdict(link)
    assert fields.pop("insecure") is False
    assert fields.pop("packet_encoding") is PacketEncoding.NONE
    return fields | {"security": link.security.value, "alpn": list(link.alpn)}


@pytest.mark.parametrize("vector", load("share_links"), ids=name_of)
def test_valid_vectors(vector):
    link = parse_share_link(vector["link"])
    assert normal_form(link) == vector["fields"]
    assert parse_share_link(format_share_link(link)) == link


@pytest.mark.parametrize("vector", load("share_links"), ids=name_of)
def test_a_written_link_has_the_keys_of_the_vectors(vector):
    written = format_share_link(parse_share_link(vector["link"]))
    fields = json.loads(base64.b64decode(written.removeprefix("vmess://")))
    for key, value in vector["json"].items():
        assert fields[key].lower() == str(value).lower()


@pytest.mark.parametrize("link", [each["link"] for each in INVALID])
def test_invalid_vectors(link):
    with pytest.raises(ConfigError):
        parse_share_link(link)


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"add": ""}, "add", "missing"),
        ({"add": "a b"}, "add", "neither an IP address nor a domain name"),
        ({"add": []}, "add", "string or a number"),
        ({"port": None}, "port", "found nothing"),
        ({"port": "70000"}, "port", "1 to 65535"),
        ({"port": 1.5}, "port", "string or a number"),
        ({"id": ""}, "id", "missing"),
        ({"id": ID + "ff"}, "id", "'b831381d…'"),
        ({"aid": "65536"}, "aid", "0 to 65535"),
        ({"scy": "aes-256-gcm"}, "scy", "did you mean 'aes-128-gcm'"),
        ({"net": "wss"}, "net", "did you mean 'ws'"),
        ({"ps": "\ud800"}, "ps", "expected a string or a number"),
    ],
)
def test_a_wrong_field_is_named(changes, where, message):
    with pytest.raises(ConfigError) as caught:
        parse_share_link(pack(FIELDS | changes))
    assert next(each.where for each in caught.value.problems) == where
    assert message in caught.value.problems[0].message
    assert ID not in str(caught.value)


def test_all_wrong_fields_are_named():
    with pytest.raises(ConfigError) as caught:
        parse_share_link(pack({"v": "2"}))
    assert [each.where for each in caught.value.problems] == ["add", "port", "id"]


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("", "must begin with vmess://"),
        ("vless://x", "must begin with vmess://"),
        ("vmess://", "nothing follows vmess://"),
        ("vmess://%%%", "not text in Base64"),
        # As a command line with another encoding than UTF-8 comes in.
        (f"vmess://{ID}@a.b:1#\udcfc", "not UTF-8"),
        (pack("hello"), "not JSON"),
        (pack("[" * 5000), "not JSON"),
        (pack("[]"), "not an object"),
        (pack(f"auto:{ID}@a.b:443"), "old form security:uuid@host:port"),
        (pack(f"auto:{ID}@a.b:443") + "?remarks=x", "old form security:uuid@host:port"),
        (f"vmess://{ID}@[::1", "expected vmess://uuid@host:port"),
        (f"vmess://{ID}@a.b:99999", "expected vmess://uuid@host:port"),
    ],
)
def test_a_broken_link_is_refused(link, message):
    with pytest.raises(ConfigError, match="not a valid share link: ") as caught:
        parse_share_link(link)
    assert message in str(caught.value)
    assert ID not in str(caught.value)


def test_spaces_line_breaks_and_case_of_the_scheme():
    text = pack(FIELDS)
    broken = " VMess://" + "\n ".join(text[8 + i : 18 + i] for i in range(0, len(text), 10)) + "\n"
    assert parse_share_link(broken) == parse_share_link(text)


def test_version_1_packs_path_and_host():
    fields = FIELDS | {"v": "1", "net": "ws", "host": "/path;cdn.example"}
    link = parse_share_link(pack(fields))
    assert (link.path, link.host) == ("/path", "cdn.example")
    del fields["v"]
    assert parse_share_link(pack(fields)) == link
    plain = parse_share_link(pack(fields | {"host": "cdn.example", "path": "/p"}))
    assert (plain.path, plain.host) == ("/p", "cdn.example")


def test_the_url_form():
    link = parse_share_link(
        f"vmess://{ID}@[2001:db8::1]:443?type=ws&security=tls&path=%2Fa%3Fb&host=c.d&sni=e.f"
        "&alpn=h2%2Chttp%2F1.1&fp=chrome&encryption=none&alterId=4&allowInsecure=1#n%20%E6%97%A5"
    )
    assert link == ShareLink(
        name="n 日",
        address="2001:db8::1",
        port=443,
        uuid=ID,
        alter_id=4,
        security=SecurityName.NONE,
        network="ws",
        host="c.d",
        path="/a?b",
        tls="tls",
        sni="e.f",
        alpn=("h2", "http/1.1"),
        fingerprint="chrome",
        insecure=True,
    )
    assert parse_share_link(format_share_link(link)) == link


def test_the_url_form_of_other_transports():
    link = parse_share_link(f"vmess://{ID}@a.b:1?type=grpc&serviceName=s&mode=gun&authority=x")
    assert (link.path, link.header_type, link.host) == ("s", "gun", "x")
    link = parse_share_link(f"vmess://{ID}@a.b:1?type=kcp&seed=s&headerType=utp")
    assert (link.path, link.header_type) == ("s", "utp")
    link = parse_share_link(f"vmess://{ID}@a.b:1")
    assert link == ShareLink(address="a.b", port=1, uuid=ID)


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        ("", PacketEncoding.NONE),
        ("none", PacketEncoding.NONE),
        ("xudp", PacketEncoding.XUDP),
        ("packet", PacketEncoding.PACKETADDR),
        ("PacketAddr", PacketEncoding.PACKETADDR),
    ],
)
def test_the_url_form_says_how_datagrams_travel(written, encoding):
    link = parse_share_link(f"vmess://{ID}@a.b:1?packetEncoding={written}")
    assert link.packet_encoding is encoding
    protocol = share_link_outbound(link).protocol
    assert isinstance(protocol, VMessOutboundSettings)
    assert protocol.packet_encoding is encoding


@pytest.mark.parametrize(
    ("link", "where"),
    [
        (f"vmess://{ID}@a.b", "port"),
        (f"vmess://{ID}@:5", "address"),
        ("vmess://@a.b:5", "uuid"),
        (f"vmess://{ID}@a.b:5?type=pigeon", "type"),
        (f"vmess://{ID}@a.b:5?encryption=rot13", "encryption"),
        (f"vmess://{ID}@a.b:5?packetEncoding=pigeon", "packetEncoding"),
    ],
)
def test_a_wrong_part_of_a_url_is_named(link, where):
    with pytest.raises(ConfigError) as caught:
        parse_share_link(link)
    assert [each.where for each in caught.value.problems] == [where]


@given(st.text() | st.text(alphabet="@:/?#[]%ab1="))
def test_any_text_is_a_link_or_a_config_error(text):
    for link in ("vmess://" + text, pack(text), pack(FIELDS | {"ps": text, "port": text})):
        try:
            parsed = parse_share_link(link)
        except ConfigError:
            continue
        assert parse_share_link(format_share_link(parsed)) == parsed


def test_the_id_is_not_in_the_repr():
    assert ID not in repr(parse_share_link(pack(FIELDS)))
