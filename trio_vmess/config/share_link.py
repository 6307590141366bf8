"""`vmess://` share links, by which clients exchange a server and a user.

Three forms are read: Base64 of a JSON object (v2rayN's version 2, and version 1, which packs path
and host into one field), and `vmess://uuid@host:port?type=tcp#name`. The first is written. A link
can describe transports that are not supported; `link_endpoints` refuses those.

Source:
    v2rayN, ServiceLib/Handler/Fmt/VmessFmt.cs and Models/Dto/VmessQRCode.cs; for version 1, its
    release 3.29, ConfigHandler. For packetEncoding, links of SagerNet (`packet`) and NekoBox.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Final, NoReturn, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import attrs

from trio_vmess.config import values
from trio_vmess.config.enums import PacketEncoding, SecurityName
from trio_vmess.config.tree import Value, quote
from trio_vmess.core.vmess import format_user_id
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["ShareLink", "format_share_link", "parse_share_link"]

_SCHEME: Final = "vmess://"
_NETWORKS: Final = (
    "tcp",
    "kcp",
    "ws",
    "h2",
    "quic",
    "grpc",
    "httpupgrade",
    "xhttp",
)
_NETWORK_ALIASES: Final = {"": "tcp", "raw": "tcp", "http": "h2", "mkcp": "kcp", "websocket": "ws"}
_OLD_FORM: Final = re.compile(r"[a-z0-9-]+:[^@\s]+@[^@\s]+:\d+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ALTER_ID_MAX: Final = 0xFFFF
_PATH_KEYS: Final = {"kcp": "seed", "quic": "key", "grpc": "serviceName"}
_PACKET_ENCODING_ALIASES: Final = {"": "none", "packet": "packetaddr"}
_HOST_KEYS: Final = {"quic": "quicSecurity", "grpc": "authority"}


@attrs.frozen(kw_only=True)
class ShareLink:
    """The content of a share link of any form.

    Attributes:
        name: the user's name for the server; may be empty.
        address: an IP address or a domain name.
        uuid: the user id in canonical form; a secret.
        security: the body cipher.
        network: the transport: tcp, kcp, ws, h2, quic, grpc, httpupgrade or xhttp.
        header_type: how the transport disguises itself; `none` for not at all.
        host: the transport's host names, as the link writes them; may be empty.
        path: the transport's path (or seed, key, service name); may be empty.
        tls: `tls`, another protocol, or empty for none.
        sni: the TLS server name; empty for the first host, or else the address.
        alpn: the TLS application protocols.
        fingerprint: the TLS client to imitate; may be empty.
        insecure: do not verify the server's certificate.
        packet_encoding: how datagrams travel; only links of the last form say so.
    """

    name: str = ""
    address: str
    port: int
    uuid: str = attrs.field(repr=False)
    alter_id: int = 0
    security: SecurityName = SecurityName.AUTO
    network: str = "tcp"
    header_type: str = "none"
    host: str = ""
    path: str = ""
    tls: str = ""
    sni: str = ""
    alpn: tuple[str, ...] = ()
    fingerprint: str = ""
    insecure: bool = False
    packet_encoding: PacketEncoding = PacketEncoding.NONE


def parse_share_link(text: str) -> ShareLink:
    """Read a share link of any of the three forms.

    Raises:
        ConfigError: with every missing or wrong field, named as in the link.
    """
    text = text.strip()
    if text[: len(_SCHEME)].lower() != _SCHEME:
        _refuse("it must begin with vmess://")
    if _SURROGATE.search(text):
        # Python hands on what a command line has beyond UTF-8 as halves of surrogate pairs.
        _refuse("it is not UTF-8; was it copied from a program with another encoding?")
    body = text[len(_SCHEME) :]
    if "@" in body:
        return _from_url(body)
    return _from_fields(_decode(body))


def _refuse(message: str) -> NoReturn:
    raise ConfigError(ConfigProblem(where="", message=f"not a valid share link: {message}"))


def _decode(body: str) -> Mapping[str, object]:
    body = re.split("[?#]", body, maxsplit=1)[0]
    packed = "".join(body.split()).replace("-", "+").replace("_", "/").rstrip("=")
    if not packed:
        _refuse("nothing follows vmess://")
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
        text = data.decode("utf-8")
    except ValueError:
        _refuse("the part after vmess:// is not text in Base64; was it copied completely?")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        if _OLD_FORM.fullmatch(text.strip().partition("?")[0]):
            _refuse(
                "it has the old form security:uuid@host:port, which does not name the transport; "
                "ask for a link in v2rayN's format"
            )
        _refuse("the decoded text is not JSON; was it copied completely?")
    if not isinstance(fields, dict):
        _refuse("the decoded JSON is not an object { … }")
    return cast("dict[str, object]", fields)


class _Fields:
    """The fields of a link; reading them collects problems."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields
        self._problems: list[ConfigProblem] = []

    def problem(self, key: str, message: str) -> None:
        self._problems.append(ConfigProblem(where=key, message=message))

    def text(self, key: str) -> str:
        """Return a field as a string; numbers are converted, and missing or null is empty."""
        value = self._fields.get(key)
        match value:
            case None:
                return ""
            case bool():
                return "1" if value else ""
            case str() if not _SURROGATE.search(value):
                return value if key == "ps" else value.strip()
            case int():
                return str(value)
            case _:
                self.problem(key, "expected a string or a number")
                return ""

    def number(self, key: str, low: int, high: int) -> int:
        value = self.text(key)
        if not value and not low:
            return 0
        if value.isascii() and value.isdigit() and len(value) <= 5 and low <= int(value) <= high:
            return int(value)
        found = quote(value) if value else "nothing"
        self.problem(key, f"expected an integer from {low} to {high}, found {found}")
        return 0

    def address(self, key: str) -> str:
        value = self.text(key)
        try:
            return str(values.host(Value(value)))
        except ValueError as exc:
            self.problem(key, str(exc) if value else "the server's address is missing")
            return ""

    def uuid(self, key: str) -> str:
        value = self.text(key)
        if not value:
            self.problem(key, "the user's id is missing")
            return ""
        try:
            return format_user_id(values.user_id(Value(value)))
        except ValueError as exc:
            self.problem(key, str(exc))
            return ""

    def security(self, key: str) -> SecurityName:
        value = self.text(key)
        try:
            return values.word(SecurityName)(Value(value or "auto"))
        except ValueError as exc:
            self.problem(key, str(exc))
            return SecurityName.AUTO

    def packet_encoding(self, key: str) -> PacketEncoding:
        value = self.text(key).lower()
        try:
            word = Value(_PACKET_ENCODING_ALIASES.get(value, value))
            return values.word(PacketEncoding)(word)
        except ValueError as exc:
            self.problem(key, str(exc))
            return PacketEncoding.NONE

    def network(self, key: str) -> str:
        value = self.text(key).lower()
        network = _NETWORK_ALIASES.get(value, value)
        if network not in _NETWORKS:
            self.problem(key, values.unknown("transport", value, _NETWORKS))
        return network

    def tls(self, key: str) -> str:
        value = self.text(key).lower()
        return "" if value == "none" else value

    def alpn(self, key: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.text(key).split(",") if part.strip())

    def flag(self, key: str) -> bool:
        return self.text(key).lower() in ("1", "true")

    def finish(self) -> None:
        if self._problems:
            raise ConfigError(*self._problems)


def _from_fields(values_by_key: Mapping[str, object]) -> ShareLink:
    fields = _Fields(values_by_key)
    network = fields.network("net")
    host, path = fields.text("host"), fields.text("path")
    if fields.text("v") != "2" and network in ("ws", "h2") and ";" in host:
        # Version 1 packs both into `host`, the path first.
        path, _, host = (part.strip() for part in host.partition(";"))
    link = ShareLink(
        name=fields.text("ps"),
        address=fields.address("add"),
        port=fields.number("port", 1, 0xFFFF),
        uuid=fields.uuid("id"),
        alter_id=fields.number("aid", 0, _ALTER_ID_MAX),
        security=fields.security("scy"),
        network=network,
        header_type=fields.text("type").lower() or "none",
        host=host,
        path=path,
        tls=fields.tls("tls"),
        sni=fields.text("sni"),
        alpn=fields.alpn("alpn"),
        fingerprint=fields.text("fp"),
        insecure=fields.flag("insecure") or fields.flag("allowInsecure"),
    )
    fields.finish()
    return link


def _from_url(body: str) -> ShareLink:
    try:
        url: SplitResult = urlsplit("//" + body)
        port = url.port
    except ValueError as exc:
        _refuse(f"{exc}; expected vmess://uuid@host:port?…#name")
    query = {key: found[-1] for key, found in parse_qs(url.query).items()}
    user = url.netloc.rpartition("@")[0]
    fields = _Fields({**query, "uuid": unquote(user), "address": url.hostname, "port": port})
    network = fields.network("type")
    link = ShareLink(
        name=unquote(url.fragment),
        address=fields.address("address"),
        port=fields.number("port", 1, 0xFFFF),
        uuid=fields.uuid("uuid"),
        alter_id=fields.number("alterId" if "alterId" in query else "aid", 0, _ALTER_ID_MAX),
        security=fields.security("encryption"),
        network=network,
        header_type=fields.text("mode" if network == "grpc" else "headerType").lower() or "none",
        host=fields.text(_HOST_KEYS.get(network, "host")),
        path=fields.text(_PATH_KEYS.get(network, "path")),
        tls=fields.tls("security"),
        sni=fields.text("sni"),
        alpn=fields.alpn("alpn"),
        fingerprint=fields.text("fp"),
        insecure=fields.flag("allowInsecure") or fields.flag("insecure"),
        packet_encoding=fields.packet_encoding("packetEncoding"),
    )
    fields.finish()
    return link


def format_share_link(link: ShareLink) -> str:
    """Write a share link of version 2, as v2rayN does."""
    fields = {
        "v": "2",
        "ps": link.name,
        "add": link.address,
        "port": str(link.port),
        "id": link.uuid,
        "aid": str(link.alter_id),
        "scy": link.security.value,
        "net": link.network,
        "type": link.header_type,
        "host": link.host,
        "path": link.path,
        "tls": link.tls,
        "sni": link.sni,
        "alpn": ",".join(link.alpn),
        "fp": link.fingerprint,
    }
    if link.insecure:
        fields["insecure"] = "1"
    text = json.dumps(fields, ensure_ascii=False)
    return _SCHEME + base64.b64encode(text.encode("utf-8")).decode("ascii")
