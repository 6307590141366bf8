"""Every exception class of the package.

There is a class of its own only for errors that some caller handles differently.
Programming errors of the caller are `ValueError` and `TypeError`.
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
    "RecordingError",
    "Refusal",
    "RemoteProtocolError",
    "VMessError",
]


class VMessError(Exception):
    """Base class of all errors that this package defines."""


@attrs.frozen(kw_only=True)
class ConfigProblem:
    """One thing that is wrong with a configuration.

    Attributes:
        where: the key path, as in `inbounds[0].settings.clients[2].id`; empty for the whole file.
        message: what was found, what was expected, and how to correct it.
        file: the file name as the user gave it; empty if there is no file.
        line: counted from 1; None if the parser does not report it.
        column: counted from 1; None if the parser does not report it.
    """

    where: str
    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        location = self.file
        if self.line is not None:
            location += f":{self.line}"
            if self.column is not None:
                location += f":{self.column}"
        return ": ".join(part for part in (location, self.where, self.message) if part)


class ConfigError(VMessError):
    """A configuration cannot be used.

    Attributes:
        problems: all problems, in the order of the file; never empty.
    """

    def __init__(self, *problems: ConfigProblem) -> None:
        if not problems:
            raise ValueError("a ConfigError needs at least one problem")
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class ProtocolError(VMessError):
    """Base class of `LocalProtocolError` and `RemoteProtocolError`."""


class LocalProtocolError(ProtocolError):
    """Our own side tried to do something that the protocol does not allow now."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection cannot go on.

    The receiving methods of core (`receive_data`, `next_event`, …) raise no other kind for bytes
    from the peer.
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
    """A request is from an unknown user, has a wrong timestamp, is damaged, or is a replay.

    On the wire all of these look the same (silence); only the log distinguishes them.

    Attributes:
        reason: why the request was refused.
        user: the user's email (or id, if there is no email), if the user is known.
        clock_offset: seconds by which the client's clock is ahead of ours, if known.
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
        reason: the category; each inbound maps it to a reply of its protocol.
    """

    def __init__(self, message: str, *, reason: DialFailure) -> None:
        super().__init__(message)
        self.reason = reason


class RecordingError(VMessError):
    """A recording of connections cannot be read: neither a capture nor hex text, or damaged."""


class NoRouteError(VMessError):
    """There is no outbound for a connection."""


class PortsExhausted(VMessError):  # noqa: N818  (the field says "exhausted", not "error")
    """No port of a range is free."""
