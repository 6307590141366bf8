"""Every exception class of the package.

A class exists only where some caller treats it differently from its neighbours.
Mistakes of the calling programmer stay `ValueError` and `TypeError`.
"""

import enum
from typing import Self

import attrs

__all__ = [
    "AuthenticationError",
    "ConfigError",
    "ConfigProblem",
    "DialError",
    "DialFailure",
    "LocalProtocolError",
    "NoRouteError",
    "PortsExhausted",
    "ProtocolError",
    "Refusal",
    "RemoteProtocolError",
    "VMessError",
]


class VMessError(Exception):
    """Base of all errors that this package raises on purpose."""


@attrs.frozen(kw_only=True)
class ConfigProblem:
    """One thing that is wrong with a configuration.

    Attributes:
        where: the key path, as in `inbounds[0].settings.clients[2].id`; empty for the whole file.
        message: what was found, what was expected, and what to do.
        file: the file's name as the user gave it; empty when there is no file.
        line: counted from 1; None where the parser does not know.
        column: counted from 1; None where the parser does not know.
    """

    where: str
    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f":{self.line}"
            if self.column is not None:
                place += f":{self.column}"
        return ": ".join(part for part in (place, self.where, self.message) if part)


class ConfigError(VMessError):
    """A configuration cannot be used.

    Attributes:
        problems: everything that is wrong, in the order of the file; never empty.
    """

    def __init__(self, *problems: ConfigProblem) -> None:
        if not problems:
            raise ValueError("a ConfigError needs at least one problem")
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class ProtocolError(VMessError):
    """Base of the two: the protocol was broken, by us or by them."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol does not allow now."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection cannot go on.

    This is the only kind that the receiving verbs of the core let out.
    """

    def copy(self) -> Self:
        """Return an equal error that has not been raised.

        Who keeps an error to raise it again keeps a copy, and raises copies: an error that was
        raised holds the frames that it went through by its traceback, and these hold whoever keeps
        it. Such a cycle stays in memory until the garbage collector runs, connection and all.
        """
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        return twin


class Refusal(enum.Enum):
    """Why a request was not authenticated: for logs, never for the wire."""

    UNKNOWN_USER = "unknown user"
    CLOCK_SKEW = "clock skew"
    REPLAY = "replay"
    TAINTED = "tainted"
    BAD_HEADER = "bad header"
    TRUNCATED = "truncated"
    WRONG_FORM = "wrong header form"
    FOREIGN_PROTOCOL = "foreign protocol"


class AuthenticationError(RemoteProtocolError):
    """A request is not from a user we know, or not from now, or not for the first time.

    All of these have one face on the wire (silence); the log tells them apart.

    Attributes:
        reason: the class of refusal.
        user: the email (or id, where there is no email) of the user it concerns, if one is known.
        clock_offset: by how many seconds the client's clock is ahead of ours, if that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Refusal,
        user: str | None = None,
        clock_offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.user = user
        self.clock_offset = clock_offset


class DialFailure(enum.Enum):
    """Why an outbound could not reach its destination."""

    REFUSED = "connection refused"
    TIMED_OUT = "timed out"
    HOST_UNREACHABLE = "host unreachable"
    NETWORK_UNREACHABLE = "network unreachable"
    NAME_NOT_FOUND = "name not found"
    FORBIDDEN = "forbidden by policy"
    UNSUPPORTED = "not supported by the outbound"
    PARENT_PROXY = "parent proxy failed"


class DialError(VMessError):
    """An outbound could not reach its destination.

    Attributes:
        reason: each inbound maps it to its own reply in one table.
    """

    def __init__(self, message: str, *, reason: DialFailure) -> None:
        super().__init__(message)
        self.reason = reason


class NoRouteError(VMessError):
    """No outbound is there to take a connection."""


class PortsExhausted(VMessError):  # noqa: N818  (the field says "exhausted", not "error")
    """A range of ports has no free port left."""
