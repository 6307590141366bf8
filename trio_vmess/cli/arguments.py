"""The arguments of each command, as one frozen value."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from trio_vmess.config import LogLevel, SecurityName
from trio_vmess.core import Host, IPAddress, Network

CIPHERS: Final = tuple(str(each.value) for each in SecurityName if each is not SecurityName.AUTO)
"""The ciphers that `bench` can measure."""

ALL_CIPHERS: Final = "all"


def _expand_ciphers(ciphers: Sequence[str] | None) -> Sequence[str]:
    return CIPHERS if ciphers and ALL_CIPHERS in ciphers else tuple(ciphers or ())


@attrs.frozen(kw_only=True)
class ServerArguments:
    """`trio-vmess server`; `tls` has the files of a certificate and of its key."""

    config: str | None
    listen: IPAddress | None
    port: int | None
    user_id: bytes | None = attrs.field(repr=False)
    alter_id: int | None
    security: SecurityName | None
    allow_private: bool | None
    ws: str | None
    tls: Sequence[str] | None
    name: Host | None
    log_level: LogLevel | None

    @property
    def excluded_by_config(self) -> Mapping[str, object]:
        """The arguments that cannot be combined with --config, by their names in messages."""
        return {
            "--listen": self.listen,
            "--port": self.port,
            "--id": self.user_id,
            "--alter-id": self.alter_id,
            "--security": self.security,
            "--allow-private": self.allow_private,
            "--ws": self.ws,
            "--tls": self.tls,
            "--name": self.name,
        }


@attrs.frozen(kw_only=True)
class ClientArguments:
    """`trio-vmess client`."""

    link: str | None = attrs.field(repr=False)
    config: str | None
    socks: tuple[IPAddress, int] | None
    http: tuple[IPAddress, int] | None
    user_id: bytes | None = attrs.field(repr=False)
    alter_id: int | None
    security: SecurityName | None
    log_level: LogLevel | None

    @property
    def excluded_by_config(self) -> Mapping[str, object]:
        """The arguments that cannot be combined with --config, by their names in messages."""
        return {
            "a vmess:// link": self.link,
            "--socks": self.socks,
            "--http": self.http,
            "--id": self.user_id,
            "--alter-id": self.alter_id,
            "--security": self.security,
        }


@attrs.frozen(kw_only=True)
class RunArguments:
    """`trio-vmess run`."""

    config: str
    log_level: LogLevel | None


@attrs.frozen(kw_only=True)
class CheckArguments:
    """`trio-vmess check`."""

    config: str


@attrs.frozen(kw_only=True)
class DemoArguments:
    """`trio-vmess demo`."""

    log_level: LogLevel | None


@attrs.frozen(kw_only=True)
class BenchArguments:
    """`trio-vmess bench`.

    Attributes:
        against: the peers to compare with; None for those that are installed.
        ciphers: measure our nodes with these, and no peer; empty for the comparison.
        seconds: how long each measurement takes.
        json: print JSON.
    """

    against: Sequence[str] | None
    ciphers: Sequence[str] = attrs.field(converter=_expand_ciphers)
    seconds: float
    json: bool


@attrs.frozen(kw_only=True)
class StatsArguments:
    """`trio-vmess stats`."""

    socket: str | None
    json: bool
    reset: bool
    connections: bool
    watch: float | None


@attrs.frozen(kw_only=True)
class ExplainArguments:
    """`trio-vmess explain`."""

    destination: tuple[Host, int]
    config: str
    network: Network
    inbound: str | None
    user: str


@attrs.frozen(kw_only=True)
class DecodeArguments:
    """`trio-vmess decode`; `time` is in UTC seconds."""

    file: str
    user_id: bytes = attrs.field(repr=False)
    alter_id: int
    time: int | None
    dialect: str
    payload: bool
    secrets: bool
    json: bool


@attrs.frozen(kw_only=True)
class DoctorArguments:
    """`trio-vmess doctor`."""

    link: str | None = attrs.field(repr=False)
    config: str | None
    outbound: str | None
    target: str
    dns: tuple[IPAddress, int]
    timeout: float
    throughput: str | None
    json: bool


Arguments: TypeAlias = (
    ServerArguments
    | ClientArguments
    | RunArguments
    | CheckArguments
    | DemoArguments
    | BenchArguments
    | StatsArguments
    | ExplainArguments
    | DecodeArguments
    | DoctorArguments
)
