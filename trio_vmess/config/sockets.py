"""Reading the options of sockets: `socket` in TOML, and V2Ray's and Xray's `sockopt`."""

from typing import Final

import attrs

from trio_vmess.config import values
from trio_vmess.config.enums import TransparentProxy
from trio_vmess.config.reader import Section
from trio_vmess.config.transports import SocketSettings
from trio_vmess.config.tree import Value, describe

__all__ = ["Sockopt", "read_socket", "read_sockopt"]

_MARK_MAX: Final = (1 << 32) - 1
_KEEPALIVE_MAX: Final = 32767
_USER_TIMEOUT_MAX: Final = (1 << 31) - 1

_IGNORED: Final = (
    "address_port_strategy",
    "custom_sockopt",
    "domain_strategy",
    "force_buf_size",
    "happy_eyeballs",
    "mptcp",
    "penetrate",
    "rx_buf_size",
    "tcp_congestion",
    "tcp_max_seg",
    "tcp_mptcp",
    "tcp_no_delay",
    "tcp_window_clamp",
    "tfo_queue_length",
    "tx_buf_size",
)


@attrs.frozen(kw_only=True)
class Sockopt:
    """What `sockopt` says; TOML has the PROXY protocol outside of `socket`."""

    socket: SocketSettings = SocketSettings()  # noqa: RUF009  (frozen)
    accept_proxy_protocol: bool = False


def read_socket(section: Section) -> SocketSettings:
    """Read `socket`."""
    return SocketSettings(
        mark=section.get("mark", values.whole(0, _MARK_MAX), None),
        tcp_fast_open=section.get("tcp_fast_open", values.flag, None),
        keepalive_idle=section.get("keepalive_idle", values.whole(1, _KEEPALIVE_MAX), None),
        keepalive_interval=section.get("keepalive_interval", values.whole(1, _KEEPALIVE_MAX), None),
        interface=section.get("interface", values.text, ""),
        user_timeout=section.get("user_timeout", values.seconds, None),
        tproxy=section.get("tproxy", values.word(TransparentProxy), TransparentProxy.OFF),
        locations=section.locations(),
    )


def read_sockopt(section: Section) -> Sockopt:
    """Read `sockopt`. For most of its numbers, 0 means the system's default."""
    section.refuse_if_set(
        "dialer_proxy", "outbounds that go through other outbounds are not supported"
    )
    section.ignore_if_set(
        "trusted_x_forwarded_for",
        "list the addresses of the proxies in 'trustedProxies' of streamSettings",
        json=("trustedXForwardedFor",),
    )
    section.ignore_if_set("v6only", "the address to listen on says it", json=("v6only",))
    for name in _IGNORED:
        section.ignore_if_set(name, "the system's default is used")
    timeout = section.get("tcp_user_timeout", values.whole(0, _USER_TIMEOUT_MAX), 0)
    return Sockopt(
        socket=SocketSettings(
            mark=section.get("mark", values.whole(-(1 << 31), _MARK_MAX), 0) or None,
            tcp_fast_open=section.get("tcp_fast_open", _flag_or_number, None),
            keepalive_idle=_keepalive(section, "tcp_keep_alive_idle"),
            keepalive_interval=_keepalive(section, "tcp_keep_alive_interval"),
            interface=section.get("interface", values.text, "", json=("interface", "bindToDevice")),
            user_timeout=timeout / 1000 if timeout else None,
            tproxy=section.get("tproxy", _tproxy, TransparentProxy.OFF),
            locations=section.locations(),
        ),
        accept_proxy_protocol=section.get("accept_proxy_protocol", values.flag, False),
    )


def _keepalive(section: Section, name: str) -> int | None:
    return section.get(name, values.whole(0, _KEEPALIVE_MAX), 0) or None


def _tproxy(raw: Value) -> TransparentProxy:
    return values.word(TransparentProxy)(raw) if raw.content else TransparentProxy.OFF


def _flag_or_number(raw: Value) -> bool:
    """Read true or false, or Xray's length of the queue."""
    if isinstance(raw.content, bool | int):
        return raw.content > 0
    raise ValueError(f"expected true, false or a number, found {describe(raw)}")
