"""The words and small values that settings are made of."""

import enum
from collections.abc import Mapping

import attrs

from trio_vmess.errors import ConfigProblem


@attrs.frozen
class Location:
    """Where something stands in a configuration file.

    Attributes:
        where: the key path, as in `inbounds[0].settings.clients[2].id`.
        line: counted from 1; None where it is not known.
        column: counted from 1; None where it is not known.
    """

    where: str
    line: int | None = None
    column: int | None = None

    def problem(self, message: str, *, file: str) -> ConfigProblem:
        """Return what is wrong here."""
        return ConfigProblem(
            where=self.where, message=message, file=file, line=self.line, column=self.column
        )


Locations = Mapping[str, Location]


class LogLevel(enum.Enum):
    """How much the error log says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    NONE = "none"


class DialectName(enum.Enum):
    """Which VMess is spoken: V2Ray's bytes, or those of the protocol's first document."""

    V2RAY = "v2ray"
    DOCUMENT = "document"


class AllocateStrategy(enum.Enum):
    """Whether a range of ports is open as a whole, or a few random ports of it at a time."""

    ALWAYS = "always"
    RANDOM = "random"


class SecurityName(enum.Enum):
    """The words a client may choose its body cipher by."""

    AUTO = "auto"
    AES_128_GCM = "aes-128-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"
    NONE = "none"
    ZERO = "zero"
    AES_128_CFB = "aes-128-cfb"


class Experiment(enum.Enum):
    """Client options that V2Ray 5 and Xray switch on by name."""

    AUTHENTICATED_LENGTH = "AuthenticatedLength"
    NO_TERMINATION_SIGNAL = "NoTerminationSignal"


class SocksAuth(enum.Enum):
    """How a SOCKS client proves who it is."""

    NOAUTH = "noauth"
    PASSWORD = "password"


class BlackholeResponse(enum.Enum):
    """What a blackhole answers before it closes."""

    NONE = "none"
    HTTP = "http"


class FreedomDomainStrategy(enum.Enum):
    """Whether freedom dials names as they are, or resolves them to one family first."""

    AS_IS = "AsIs"
    USE_IP = "UseIP"
    USE_IPV4 = "UseIPv4"
    USE_IPV6 = "UseIPv6"


@attrs.frozen
class PortRange:
    """Ports `first` to `last`, both included. A lone 0 asks the system for any free port.

    Raises:
        ValueError: the range is empty or goes past 65535.
    """

    first: int
    last: int

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= 0xFFFF:
            raise ValueError(f"{self.first}-{self.last} is no range of ports within 0 to 65535")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: "PortRange") -> bool:
        """Tell whether a port is in both; port 0 is never the same port twice."""
        if not self.last or not other.last:
            return False
        return self.first <= other.last and other.first <= self.last


@attrs.frozen
class UnixSocket:
    """A Unix socket to listen on: a path, or `@name` for Linux's abstract name space."""

    path: str

    def __str__(self) -> str:
        return self.path
