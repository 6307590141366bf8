"""Reading the settings of carriers, of both file formats.

In V2Ray's JSON each has an object of its own, such as `wsSettings`; in TOML they are in
`transport`, beside its `type`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote as percent_encode

import attrs

from trio_vmess.config import values
from trio_vmess.config.reader import Entry, Section
from trio_vmess.config.transports import (
    EARLY_DATA_HEADER,
    CarrierSettings,
    GrpcSettings,
    Http2Settings,
    HttpHeaderSettings,
    HttpRequestSettings,
    HttpResponseSettings,
    HttpUpgradeSettings,
    TcpSettings,
    WebSocketSettings,
)
from trio_vmess.config.tree import Value, quote

__all__ = [
    "CARRIERS",
    "CARRIER_WORDS",
    "Carried",
    "read_carrier_word",
    "request_path",
    "take_early_data",
    "unsupported_carrier",
]

CARRIER_WORDS: Final[Mapping[str, str]] = {
    "tcp": "tcp",
    "raw": "tcp",
    "ws": "ws",
    "websocket": "ws",
    "httpupgrade": "httpupgrade",
    "h2": "h2",
    "http": "h2",
    "grpc": "grpc",
    "gun": "grpc",
}
"""How files and links call each carrier; the words on the right are the keys of `CARRIERS`."""

_INSTEAD: Final = {
    "kcp": "use 'ws' or 'tcp'",
    "mkcp": "use 'ws' or 'tcp'",
    "quic": "use 'grpc' or 'h2'",
    "xhttp": "use 'ws', 'httpupgrade' or 'grpc'",
    "splithttp": "use 'ws', 'httpupgrade' or 'grpc'",
    "hysteria": "use 'grpc' or 'ws'",
    "hysteria2": "use 'grpc' or 'ws'",
    "hy2": "use 'grpc' or 'ws'",
}

_EARLY_DATA_MAX: Final = 0xFFFF
_WINDOW_MAX: Final = (1 << 31) - 1
_EARLY_DATA_QUERY: Final = re.compile(r"(?<=[?&])ed=([^&]*)(?:&|$)")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


@attrs.frozen(kw_only=True)
class Carried:
    """What the settings of a carrier say.

    Attributes:
        accept_proxy_protocol: V2Ray has this key among them; TOML has it beside them.
    """

    carrier: CarrierSettings
    accept_proxy_protocol: bool = False


def read_carrier_word(raw: Value) -> str:
    """Read which carrier is meant, as a key of `CARRIERS`."""
    word = values.text(raw).lower()
    if word in CARRIER_WORDS:
        return CARRIER_WORDS[word]
    raise ValueError(unsupported_carrier(word) or values.unknown("transport", word, CARRIERS))


def unsupported_carrier(word: str) -> str:
    """Say what to use in place of a carrier that others have; empty if there is none such."""
    instead = _INSTEAD.get(word)
    return f"the transport {quote(word)} is not supported; {instead}" if instead else ""


# Texts --------------------------------------------------------------------------------------------


def request_path(text: str) -> str:
    """Return the path of a request: with a `/` in front, and percent-encoded where it has to be."""
    path = percent_encode(text, safe=_PRINTABLE)
    return path if path.startswith("/") else f"/{path}"


def take_early_data(path: str) -> tuple[str, int]:
    """Take Xray's `ed=` out of the query of a path.

    Returns:
        The path without it, and how many bytes may go early: 0 if it was not there.

    Raises:
        ValueError: what follows `ed=` is not a number.

    Source:
        Xray-core, infra/conf/transport_internet.go.
    """
    found = _EARLY_DATA_QUERY.search(path)
    if found is None:
        return path, 0
    size = found[1]
    if not (size.isascii() and size.isdigit() and len(size) <= 5 and int(size) <= _EARLY_DATA_MAX):
        raise ValueError(
            f"expected a number of bytes from 0 to {_EARLY_DATA_MAX} after 'ed=', "
            f"found {quote(size)}"
        )
    rest = path[: found.start()] + path[found.end() :]
    return rest.rstrip("?&"), int(size)


def _path(raw: Value) -> str:
    return request_path(values.text(raw))


def _path_and_early_data(raw: Value) -> tuple[str, int]:
    return take_early_data(_path(raw))


def _header_value(raw: Value) -> str:
    value = values.text(raw)
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"{quote(value)} cannot be the value of an HTTP header")
    return value.strip()


def _header_values(raw: Value) -> tuple[str, ...]:
    listed = raw.content if isinstance(raw.content, tuple) else (raw,)
    return tuple(map(_header_value, listed))


def _header_members(section: Section, name: str) -> list[tuple[str, Entry]] | None:
    """Return the members of an object of headers; None if it is not there."""
    found = section.section(name)
    if found is None:
        return None
    good: list[tuple[str, Entry]] = []
    for key, entry in found.members():
        if _HEADER_NAME.fullmatch(key):
            good.append((key, entry))
        else:
            message = f"{quote(key)} cannot be the name of an HTTP header"
            section.report.problem(entry.location, message)
    return good


def _read_headers(section: Section) -> dict[str, str]:
    headers: dict[str, str] = {}
    for key, entry in _header_members(section, "headers") or []:
        value = section.convert(entry, _header_value, "")
        headers[key] = value
    return headers


def _read_header_lists(section: Section) -> dict[str, tuple[str, ...]] | None:
    members = _header_members(section, "headers")
    if members is None:
        return None
    return {key: section.convert(entry, _header_values, ()) for key, entry in members}


def _read_host_and_headers(section: Section) -> tuple[str, dict[str, str]]:
    """Read the Host header, which V2Ray has among the other headers."""
    headers = _read_headers(section)
    host = section.get("host", _header_value, "")
    for name in [each for each in headers if each.lower() == "host"]:
        host = host or headers[name]
        del headers[name]
    return host, headers


# Carriers -----------------------------------------------------------------------------------------


def _accepts_proxy_protocol(section: Section) -> bool:
    return not section.native and section.get("accept_proxy_protocol", values.flag, False)


def _ignore_forwarded_for(section: Section) -> None:
    if not section.native:
        section.ignore_if_set(
            "parse_x_forwarded_for",
            "X-Forwarded-For is believed from this machine, and from 'trustedProxies' of "
            "streamSettings",
        )


def _read_tcp(section: Section) -> Carried:
    return Carried(
        carrier=TcpSettings(header=_read_camouflage(section)),
        accept_proxy_protocol=_accepts_proxy_protocol(section),
    )


def _read_camouflage(section: Section) -> HttpHeaderSettings | None:
    header = section.section("header")
    if header is None:
        return None
    if not header.native:
        kind = header.get("type", values.text, "none").lower()
        if kind not in ("http", "none", ""):
            header.refuse("type", f"expected 'none' or 'http', found {quote(kind)}")
        if kind != "http":
            header.find("request")
            header.find("response")
            return None
    request, response = header.section("request"), header.section("response")
    return HttpHeaderSettings(
        request=HttpRequestSettings() if request is None else _read_request(request),
        response=HttpResponseSettings() if response is None else _read_response(response),
    )


def _read_request(section: Section) -> HttpRequestSettings:
    return HttpRequestSettings(
        version=section.get("version", values.choice({"1.0": "1.0", "1.1": "1.1"}), "1.1"),
        method=section.get("method", _method, "GET"),
        paths=section.many("paths", _path, json=("path",)) or ("/",),
        headers=_read_header_lists(section),
    )


def _read_response(section: Section) -> HttpResponseSettings:
    return HttpResponseSettings(
        version=section.get("version", values.choice({"1.0": "1.0", "1.1": "1.1"}), "1.1"),
        status=section.get("status", _status, "200"),
        reason=section.get("reason", _header_value, "OK"),
        headers=_read_header_lists(section),
    )


def _method(raw: Value) -> str:
    value = values.text(raw)
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError(f"{quote(value)} is not an HTTP method")
    return value


def _status(raw: Value) -> str:
    value = str(raw.content) if isinstance(raw.content, int) else values.text(raw)
    if not re.fullmatch("[1-9][0-9][0-9]", value):
        raise ValueError(f"expected an HTTP status such as '200', found {quote(value)}")
    return value


def _read_websocket(section: Section) -> Carried:
    if not section.native:
        section.ignore("connection_reuse", "it has no meaning since 2016")
        section.refuse_if_set("use_browser_forwarding", "forwarding to a browser is not supported")
        _ignore_forwarded_for(section)
    path, early_data = section.get("path", _path_and_early_data, ("/", 0))
    is_v5_form = not section.native and section.find("max_early_data") is not None
    host, headers = _read_host_and_headers(section)
    carrier = WebSocketSettings(
        path=path,
        host=host,
        headers=headers,
        max_early_data=_read_max_early_data(section, early_data),
        early_data_header=_read_early_data_header(section, "" if is_v5_form else EARLY_DATA_HEADER),
        heartbeat=section.get("heartbeat", values.seconds, 0.0, json=("heartbeatPeriod",)),
    )
    return Carried(carrier=carrier, accept_proxy_protocol=_accepts_proxy_protocol(section))


def _read_max_early_data(section: Section, default: int) -> int:
    return section.get("max_early_data", values.whole(0, _EARLY_DATA_MAX), default)


def _read_early_data_header(section: Section, default: str) -> str:
    def read(raw: Value) -> str:
        name = values.text(raw)
        if name and not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{quote(name)} cannot be the name of an HTTP header")
        return name

    return section.get("early_data_header", read, default, json=("earlyDataHeaderName",))


def _read_http_upgrade(section: Section) -> Carried:
    path, early_data = section.get("path", _path_and_early_data, ("/", 0))
    host, headers = _read_host_and_headers(section)
    carrier = HttpUpgradeSettings(
        path=path,
        host=host,
        headers=headers,
        is_eager=(section.native and section.get("eager", values.flag, False)) or early_data > 0,
        max_early_data=_read_max_early_data(section, 0),
        early_data_header=_read_early_data_header(
            section, EARLY_DATA_HEADER if section.native else ""
        ),
    )
    if carrier.max_early_data and not carrier.early_data_header:
        section.report.problem(
            section.missing_location("early_data_header", json=("earlyDataHeaderName",)),
            f"early data needs a header, such as '{EARLY_DATA_HEADER}'",
        )
    return Carried(
        carrier=attrs.evolve(
            carrier, early_data_header=carrier.early_data_header or EARLY_DATA_HEADER
        ),
        accept_proxy_protocol=_accepts_proxy_protocol(section),
    )


def _read_http2(section: Section) -> Carried:
    _ignore_forwarded_for(section)
    carrier = Http2Settings(
        hosts=section.many("hosts", _header_value, json=("host",)),
        path=section.get("path", _path, "/"),
        method=section.get("method", _method, "PUT"),
        headers=_read_header_lists(section) or {},
        read_idle_timeout=section.get(
            "read_idle_timeout", values.seconds, 0.0, json=("read_idle_timeout",)
        ),
        health_check_timeout=section.get(
            "health_check_timeout", values.seconds, 0.0, json=("health_check_timeout",)
        ),
    )
    return Carried(carrier=carrier)


def _read_grpc(section: Section) -> Carried:
    _ignore_forwarded_for(section)
    carrier = GrpcSettings(
        service_name=section.get("service_name", _header_value, ""),
        is_multi=section.get("multi", values.flag, False, json=("multiMode",)),
        authority=section.get("authority", _header_value, ""),
        user_agent=section.get("user_agent", _header_value, "", json=("user_agent",)),
        idle_timeout=section.get("idle_timeout", values.seconds, 0.0, json=("idle_timeout",)),
        health_check_timeout=section.get(
            "health_check_timeout", values.seconds, 0.0, json=("health_check_timeout",)
        ),
        permit_without_stream=section.get(
            "permit_without_stream", values.flag, False, json=("permit_without_stream",)
        ),
        initial_window_size=section.get(
            "initial_window_size", values.whole(0, _WINDOW_MAX), 0, json=("initial_windows_size",)
        ),
    )
    return Carried(carrier=carrier)


CARRIERS: Final[Mapping[str, Callable[[Section], Carried]]] = {
    "tcp": _read_tcp,
    "ws": _read_websocket,
    "httpupgrade": _read_http_upgrade,
    "h2": _read_http2,
    "grpc": _read_grpc,
}
"""The readers, by the canonical word."""
