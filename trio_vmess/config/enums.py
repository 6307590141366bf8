"""The enumerations that settings are chosen from; their values are the words of the files."""

import enum


class LogLevel(enum.Enum):
    """The least severe events that the error log holds."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    NONE = "none"


class AllocateStrategy(enum.Enum):
    """Whether a range of ports is open as a whole, or a few random ports of it at a time."""

    ALWAYS = "always"
    RANDOM = "random"


class SecurityName(enum.Enum):
    """The names by which a client chooses its body cipher."""

    AUTO = "auto"
    AES_128_GCM = "aes-128-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"
    NONE = "none"
    ZERO = "zero"
    AES_128_CFB = "aes-128-cfb"


class Experiment(enum.Enum):
    """Client options that V2Ray 5 and Xray enable by name."""

    AUTHENTICATED_LENGTH = "AuthenticatedLength"
    NO_TERMINATION_SIGNAL = "NoTerminationSignal"


class PacketEncoding(enum.Enum):
    """How a VMess outbound sends the datagrams of one socket of a program."""

    NONE = "none"
    XUDP = "xudp"
    PACKETADDR = "packetaddr"


class QuicOverMux(enum.Enum):
    """What becomes of datagrams to port 443 where datagrams share connections."""

    REJECT = "reject"
    ALLOW = "allow"
    SKIP = "skip"


class SocksAuth(enum.Enum):
    """How SOCKS clients authenticate."""

    NOAUTH = "noauth"
    PASSWORD = "password"  # noqa: S105  (the name of a method)


class BlackholeResponse(enum.Enum):
    """What a blackhole sends before it closes the connection."""

    NONE = "none"
    HTTP = "http"


class FreedomDomainStrategy(enum.Enum):
    """Whether freedom leaves names to the system, or resolves them by the `dns` settings first."""

    AS_IS = "AsIs"
    USE_IP = "UseIP"
    USE_IPV4 = "UseIPv4"
    USE_IPV6 = "UseIPv6"


class TransparentProxy(enum.Enum):
    """How a firewall hands connections to an inbound that they were not meant for."""

    OFF = "off"
    REDIRECT = "redirect"
    TPROXY = "tproxy"


class TlsVersion(enum.Enum):
    """The versions of TLS; older ones are not secure."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"
