"""Turns the socket settings of an inbound or outbound into options that this system knows."""

import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from trio_vmess.config import (
    InboundSettings,
    SocketSettings,
    StreamSettings,
    TransparentProxy,
    UnixSocket,
    locate,
)
from trio_vmess.errors import ConfigError
from trio_vmess.listen import BACKLOG
from trio_vmess.transport import SocketOption, transparent_options

_MARK: Final[int | None] = getattr(socket, "SO_MARK", None)
_INTERFACE: Final[int | None] = getattr(socket, "SO_BINDTODEVICE", None)
_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)
_KEEPALIVE_INTERVAL: Final[int | None] = getattr(socket, "TCP_KEEPINTVL", None)
_KEEPALIVE_IDLE: Final[int | None] = getattr(
    socket,
    "TCP_KEEPIDLE",
    getattr(socket, "TCP_KEEPALIVE", None),  # as macOS calls it
)

# Elsewhere it takes other calls than `listen` and `connect`.
_IS_LINUX: Final = sys.platform == "linux"
_FAST_OPEN: Final[int | None] = getattr(socket, "TCP_FASTOPEN", None) if _IS_LINUX else None
_FAST_OPEN_CONNECT: Final[int | None] = 30 if _IS_LINUX else None
"""TCP_FASTOPEN_CONNECT of linux/tcp.h, which Python does not name."""


@attrs.frozen(kw_only=True)
class SocketOptions:
    """The options of an inbound or outbound.

    Attributes:
        streams: of sockets for TCP that listen, or that connect.
        datagrams: of sockets for UDP.
    """

    streams: Sequence[SocketOption] = ()
    datagrams: Sequence[SocketOption] = ()


_Choice = tuple[str, int, int | None, int | bytes]


def listening_options(stream: StreamSettings, *, file: str) -> SocketOptions:
    """Return the options of an inbound.

    Args:
        stream: its settings.
        file: the name of the configuration file, for errors.

    Raises:
        ConfigError: this system does not know one of them.
    """
    return _options(stream, _FAST_OPEN, BACKLOG, file=file)


def make_transparent(
    options: SocketOptions, settings: InboundSettings, *, file: str
) -> SocketOptions:
    """Add what transparent proxying takes to the options of an inbound.

    Args:
        options: the other ones.
        settings: the inbound's.
        file: the name of the configuration file, for errors.

    Raises:
        ConfigError: this system has no transparent proxying.
    """
    mode, listen = settings.transparent_proxy, settings.listen
    if mode is TransparentProxy.OFF or isinstance(listen, UnixSocket):
        return options
    if not _IS_LINUX:
        message = f"this system ({sys.platform}) has no transparent proxying; it takes Linux"
        location = locate(settings.stream.locations, "socket", "stream")
        raise ConfigError(location.problem(message, file=file))
    if mode is TransparentProxy.REDIRECT:
        return options
    family = socket.AF_INET if listen.version == 4 else socket.AF_INET6
    return SocketOptions(
        streams=[*options.streams, *transparent_options(family, socket.SOCK_STREAM)],
        datagrams=[*options.datagrams, *transparent_options(family, socket.SOCK_DGRAM)],
    )


def dialling_options(stream: StreamSettings, *, file: str) -> SocketOptions:
    """Return the options of an outbound.

    Args:
        stream: its settings.
        file: the name of the configuration file, for errors.

    Raises:
        ConfigError: this system does not know one of them.
    """
    return _options(stream, _FAST_OPEN_CONNECT, 1, file=file)


def _options(
    stream: StreamSettings, fast_open: int | None, fast_open_value: int, *, file: str
) -> SocketOptions:
    settings = stream.socket
    of_tcp = list(_of_tcp(settings))
    if settings.tcp_fast_open:
        of_tcp.append(("tcp_fast_open", socket.IPPROTO_TCP, fast_open, fast_open_value))
    try:
        datagrams = [_known(*choice) for choice in _of_any_socket(settings)]
        streams = [_known(*choice) for choice in of_tcp]
    except ValueError as exc:
        location = locate(stream.locations, "socket", "stream")
        raise ConfigError(location.problem(str(exc), file=file)) from None
    return SocketOptions(streams=[*datagrams, *streams], datagrams=datagrams)


def _known(name: str, level: int, number: int | None, value: int | bytes) -> SocketOption:
    if number is None:
        raise ValueError(f"this system ({sys.platform}) has no option {name!r}; remove it")
    return SocketOption(name, level, number, value)


def _of_any_socket(settings: SocketSettings) -> Iterator[_Choice]:
    level = socket.SOL_SOCKET
    if settings.mark:
        # Its bytes, because an int is taken as signed.
        mark = (settings.mark & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
        yield "mark", level, _MARK, mark
    if settings.interface:
        yield "interface", level, _INTERFACE, settings.interface.encode() + b"\0"


def _of_tcp(settings: SocketSettings) -> Iterator[_Choice]:
    level, idle, interval = (
        socket.IPPROTO_TCP,
        settings.keepalive_idle,
        settings.keepalive_interval,
    )
    if idle is not None or interval is not None:
        yield "keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    if idle is not None:
        yield "keepalive_idle", level, _KEEPALIVE_IDLE, idle
    if interval is not None:
        yield "keepalive_interval", level, _KEEPALIVE_INTERVAL, interval
    if settings.user_timeout is not None:
        milliseconds = max(1, round(settings.user_timeout * 1000))
        yield "user_timeout", level, _USER_TIMEOUT, milliseconds
