"""Converts the text of an argument to its value, with errors that name what was expected."""

import argparse
import contextlib
import datetime
import enum
import ipaddress
import re
from collections.abc import Callable
from typing import Final, TypeVar

from trio_vmess.core import Host, IPAddress, parse_endpoint, parse_host
from trio_vmess.core.vmess import parse_user_id

PEER_NAMES: Final = ("v2ray", "sing-box", "xray")
"""Those that `bench` can compare with."""

_Choice = TypeVar("_Choice", bound=enum.Enum)
_PORT_MAX: Final = 0xFFFF
_DNS_PORT: Final = 53
_ALTER_ID_MAX: Final = 0xFFFF
_DOMAIN: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?", re.ASCII)
_URL_PATH: Final = re.compile(r"/[A-Za-z0-9._~/%!$&'()*+,;=:@-]*")
"""RFC 3986 section 3.3."""


def read_ip_address(text: str) -> IPAddress:
    """Read an IP address, in brackets or without; `localhost` is 127.0.0.1."""
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text.strip("[]"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid IP address") from None


def read_port(text: str) -> int:
    """Read a port to listen on."""
    if not _is_number(text, _PORT_MAX):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a valid port: expected 0 to {_PORT_MAX} (0 picks a free one)"
        )
    return int(text)


def read_alter_id(text: str) -> int:
    """Read how many alter ids a user has."""
    if not _is_number(text, _ALTER_ID_MAX):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a valid alterId: expected 0 to {_ALTER_ID_MAX}"
        )
    return int(text)


def read_endpoint(text: str) -> tuple[Host, int]:
    """Read `host:port`."""
    try:
        return parse_endpoint(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def read_local_endpoint(text: str) -> tuple[IPAddress, int]:
    """Read `address:port`, to listen on."""
    host, port = read_endpoint(text)
    return read_ip_address(str(host)), port


def read_name_server(text: str) -> tuple[IPAddress, int]:
    """Read the address of a name server, with a port or without."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text.strip("[]")), _DNS_PORT
    with contextlib.suppress(ValueError):
        host, port = parse_endpoint(text)
        if not isinstance(host, str) and port:
            return host, port
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a valid name server: expected an IP address, with a port or without"
    )


def read_http_target(text: str) -> str:
    """Check an `http://` URL, or `host:port`."""
    # Imported here: no other command needs it.
    from trio_vmess.diagnosis.doctor import read_target

    try:
        read_target(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return text


def read_host(text: str) -> Host:
    """Read an IP address or a domain name."""
    with contextlib.suppress(ValueError):
        host = parse_host(text)
        if not isinstance(host, str) or _DOMAIN.fullmatch(host):
            return host
    raise argparse.ArgumentTypeError(f"{text!r} is neither an IP address nor a domain name")


def read_url_path(text: str) -> str:
    """Read the path of a URL, without a query."""
    if not _URL_PATH.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a valid path: expected one as in a URL, such as /tunnel"
        )
    return text


def read_user_id(text: str) -> bytes:
    """Read a UUID, or a short name that stands for one."""
    try:
        return parse_user_id(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def read_time(text: str) -> int:
    """Read a moment: UTC seconds, or a date and a time of ISO 8601; UTC unless it has an offset."""
    with contextlib.suppress(ValueError, OverflowError):
        if text.isascii() and text.isdigit():
            # It must be one that can be written as a date, too.
            return int(datetime.datetime.fromtimestamp(int(text), datetime.UTC).timestamp())
        moment = datetime.datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a valid time: expected UTC seconds, or as in 2026-11-21T13:40:09"
    )


def seconds_between(least: float, most: float) -> Callable[[str], float]:
    """Return a reader of durations within two bounds."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a valid duration: expected {least:g} to {most:g} seconds"
            )
        return value

    return read


def one_of(choices: type[_Choice]) -> Callable[[str], _Choice]:
    """Return a reader of the values of an enumeration."""

    def read(text: str) -> _Choice:
        try:
            return choices(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not known: expected one of {list_values(choices)}"
            ) from None

    return read


def read_peers(text: str) -> tuple[str, ...] | None:
    """Read whom to compare with: None for `auto`, empty for `none`."""
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    if names == ("auto",):
        return None
    if names == ("none",):
        return ()
    for name in names:
        if name not in PEER_NAMES:
            raise argparse.ArgumentTypeError(
                f"{name!r} is not known: expected auto, none, or some of {', '.join(PEER_NAMES)}, "
                "separated by commas"
            )
    return names


def list_values(choices: type[enum.Enum]) -> str:
    """Return the values of an enumeration, for messages."""
    return ", ".join(str(each.value) for each in choices)


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= most
