"""Readers of one value: from what the file has to what a setting holds.

Each takes a `Value` and raises `ValueError`, saying what it expected and what it found; `Section`
adds the location.
"""

import enum
import ipaddress
import math
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

import attrs

from trio_vmess.config.endpoints import PortRange
from trio_vmess.config.transports import UnixSocket
from trio_vmess.config.tree import Value, describe, quote
from trio_vmess.core import Host, IPAddress, Network, parse_host
from trio_vmess.core.vmess import parse_user_id

_E = TypeVar("_E", bound=enum.Enum)
_T = TypeVar("_T")

_SHORT: Final = 5
_VARIABLE: Final = "env:"
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_HEX_TEXT: Final = re.compile(r"[0-9A-Fa-f-]{16,}")
_MODE: Final = re.compile(r"0?[0-7]{3}")
_PORT_RANGE: Final = re.compile(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the word that `word` is most likely a misspelling of, or None if none is near."""
    # Imported here: only mistakes need it.
    import difflib

    folded = {fold(each): each for each in words}
    wrong = fold(word)
    # One letter in four may be wrong; of a short word, any one.
    cutoff = 0.6 if len(wrong) < _SHORT else 0.75
    close = difflib.get_close_matches(wrong, folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def fold(word: str) -> str:
    """Strip a key of what differs between spellings: case, `_` and `-`."""
    return word.lower().replace("_", "").replace("-", "")


def text(raw: Value) -> str:
    """Read a string."""
    if isinstance(raw.content, str):
        return raw.content
    raise ValueError(f"expected a string in quotes, found {describe(raw)}")


def filled_text(raw: Value) -> str:
    """Read a string that is not empty."""
    if value := text(raw):
        return value
    raise ValueError("expected a string that is not empty")


def secret(raw: Value) -> str:
    """Read a string that messages must not show."""
    if isinstance(raw.content, str):
        return raw.content
    raise ValueError(f"expected a string in quotes, found {describe(raw, secret=True)}")


def flag(raw: Value) -> bool:
    """Read true or false."""
    if isinstance(raw.content, bool):
        return raw.content
    hint = ""
    if isinstance(raw.content, str) and raw.content.lower() in ("true", "false"):
        hint = "; write it without quotes"
    raise ValueError(f"expected true or false, found {describe(raw)}{hint}")


def whole(low: int, high: int) -> Callable[[Value], int]:
    """Return a reader of integers from `low` to `high`."""

    def read(raw: Value) -> int:
        value = raw.content
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        hint = ""
        if isinstance(value, str) and value.strip().isdecimal():
            hint = "; write it without quotes"
        raise ValueError(f"expected an integer from {low} to {high}, found {describe(raw)}{hint}")

    return read


def seconds(raw: Value) -> float:
    """Read a duration of 0 seconds or more."""
    value = raw.content
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        duration = float(value)
        if math.isfinite(duration) and duration >= 0:
            return duration
    raise ValueError(f"expected a number of seconds, 0 or more, found {describe(raw)}")


def word(kind: type[_E]) -> Callable[[Value], _E]:
    """Return a reader of an enumeration's values, ignoring case."""
    return choice({str(member.value): member for member in kind})


def choice(offered: Mapping[str, _T]) -> Callable[[Value], _T]:
    """Return a reader of the keys of `offered`, ignoring case, which returns what a key maps to."""
    folded = {name.lower(): meant for name, meant in offered.items()}

    def read(raw: Value) -> _T:
        value = text(raw)
        try:
            return folded[value.lower()]
        except KeyError:
            raise ValueError(unknown("value", value, offered)) from None

    return read


def unknown(what: str, found: str, offered: Iterable[str]) -> str:
    """Say that a word is not one of those offered, and which one may have been meant.

    Args:
        what: what kind of word it is, as in `protocol`.
        found: what the file has.
        offered: the words that it may have.
    """
    offered = list(offered)
    near = nearest(found.removesuffix(":"), offered)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"unknown {what} {quote(found)}: expected one of {', '.join(offered)}{hint}"


def host(raw: Value) -> Host:
    """Read an IP address or a domain name."""
    value = filled_text(raw)
    neither = f"{quote(value)} is neither an IP address nor a domain name"
    try:
        read = parse_host(value)
    except ValueError:
        name, colon, port = value.rpartition(":")
        if colon and port.isdecimal() and ":" not in name:
            raise ValueError(
                f"{quote(value)} contains a port: expected only an IP address or a domain name"
            ) from None
        raise ValueError(neither) from None
    if isinstance(read, str) and not _HOST_NAME.fullmatch(read):
        raise ValueError(neither)
    return read


def ip_address(raw: Value) -> IPAddress:
    """Read an IP address."""
    value = text(raw)
    try:
        return ipaddress.ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"expected an IP address, found {quote(value)}") from None


def listen(raw: Value) -> IPAddress | UnixSocket:
    """Read an address to listen on.

    Source:
        v2ray-core, transport/internet/tcp/hub.go: `localhost` is 127.0.0.1.
    """
    value = text(raw)
    if value.startswith("@") and len(value) > 1:
        return UnixSocket(value)
    if value.startswith("/") and len(value) > 1:
        return _unix_path(value)
    if value.lower() == "localhost":
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ip_address(raw)
    except ValueError:
        raise ValueError(
            f"cannot listen on {quote(value)}: expected an IP address, localhost, "
            "or the path of a Unix socket, which begins with / or @"
        ) from None


def _unix_path(value: str) -> UnixSocket:
    """Read `/path`, `/path,0660` or `/path,0660,owner:group`."""
    path, *rest = value.split(",")
    mode, owner, group = None, "", ""
    if rest and (match := _MODE.fullmatch(rest[0].strip())):
        mode = int(match[0], 8)
        if len(rest) > 1:
            owner, _, group = (part.strip() for part in rest.pop().partition(":"))
        rest.pop()
    if rest:
        raise ValueError(
            f"{quote(value)}: expected the path of a Unix socket, or /path,0660 with permissions "
            "in octal, or /path,0660,owner:group"
        )
    return UnixSocket(path, mode=mode, owner=owner, group=group)


def port(raw: Value) -> int:
    """Read a remote port."""
    return whole(1, 0xFFFF)(raw)


def port_range(
    raw: Value, environ: Mapping[str, str] | None = None, *, lowest: int = 1
) -> PortRange:
    """Read a port or a range of ports.

    Args:
        raw: a number, or a string: `80`, `1000-2000`, or `env:NAME` for what a variable holds.
        environ: the variables; None for those of the process.
        lowest: where ranges may begin.
    """
    value = raw.content
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= 0xFFFF:
            return PortRange(value, value)
    elif isinstance(value, str):
        spelled, source = value, ""
        if value.startswith("env:"):
            name = value[len("env:") :]
            variables = os.environ if environ is None else environ
            if name not in variables:
                raise ValueError(f"the environment variable {quote(name)} is not set")
            spelled, source = variables[name], f" (from {quote(value)})"
        match = _PORT_RANGE.fullmatch(spelled.strip())
        if match is not None:
            first = int(match[1])
            last = int(match[2]) if match[2] else first
            if first > last:
                raise ValueError(
                    f"the port range {quote(spelled)}{source} is reversed: "
                    "the first port must not be above the last"
                )
            if last <= 0xFFFF and (first >= lowest or first == last):
                return PortRange(first, last)
        raise ValueError(
            f"expected a port from 1 to 65535 or a range such as '1000-2000', "
            f"found {quote(spelled)}{source}"
        )
    raise ValueError(
        f"expected a port from 1 to 65535, a range such as '1000-2000', or 'env:NAME', "
        f"found {describe(raw)}"
    )


def remote_ports(raw: Value) -> PortRange:
    """Read a port or a range of ports in a rule, where a range may begin at 0."""
    return port_range(raw, {}, lowest=0)


network: Final = word(Network)


def resolve(raw: Value, environ: Mapping[str, str] | None) -> Value:
    """Return a value, or for the string `env:NAME` what that variable holds.

    Args:
        raw: from the file.
        environ: the variables; None for those of the process.
    """
    if not isinstance(raw.content, str) or not raw.content.startswith(_VARIABLE):
        return raw
    name = raw.content.removeprefix(_VARIABLE)
    variables = os.environ if environ is None else environ
    if name not in variables:
        raise ValueError(f"the environment variable {quote(name)} is not set")
    return attrs.evolve(raw, content=variables[name])


def is_uuid(raw: Value) -> bool:
    """Tell whether a user id is written as a UUID, rather than as a name that stands for one."""
    try:
        uuid.UUID(text(raw))
    except ValueError:
        return False
    return True


def user_id(raw: Value) -> bytes:
    """Read a VMess user id; messages show at most its first 8 characters."""
    value = secret(raw)
    hidden = quote(value, secret=True)
    try:
        read = parse_user_id(value)
    except ValueError as exc:
        raise ValueError(
            f"{hidden} is not a valid user id: {exc}; "
            "generate one with `cat /proc/sys/kernel/random/uuid`"
        ) from None
    if _HEX_TEXT.fullmatch(value) and len(value.replace("-", "")) != 32:
        raise ValueError(
            f"{hidden} looks like a UUID, but has {len(value.replace('-', ''))} hex digits "
            "instead of 32"
        )
    return read
