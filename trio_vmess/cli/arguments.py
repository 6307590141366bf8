"""The commands and their arguments: what argparse reads becomes one frozen value per command."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from trio_vmess._version import __version__
from trio_vmess.cli.values import (
    list_values,
    one_of,
    read_alter_id,
    read_endpoint,
    read_ip_address,
    read_local_endpoint,
    read_port,
    read_user_id,
    seconds_between,
)
from trio_vmess.config import LogLevel, SecurityName
from trio_vmess.core import Host, IPAddress, Network

EXIT_USAGE: Final = 2
"""The command line was not understood; argparse ends with the same."""

_CIPHERS: Final = tuple(str(each.value) for each in SecurityName if each is not SecurityName.AUTO)
_FILE_HELP: Final = "TOML, or V2Ray 4 JSON"


def _ciphers_or_all(ciphers: Sequence[str] | None) -> Sequence[str]:
    return tuple(ciphers or _CIPHERS)


# What is read -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ServerArguments:
    """`trio-vmess server`."""

    config: str | None
    listen: IPAddress | None
    port: int | None
    user_id: bytes | None = attrs.field(repr=False)
    alter_id: int | None
    security: SecurityName | None
    allow_private: bool | None
    log_level: LogLevel | None

    @property
    def instead_of_a_file(self) -> Mapping[str, object]:
        """What stands for a configuration file, by the names that messages use."""
        return {
            "--listen": self.listen,
            "--port": self.port,
            "--id": self.user_id,
            "--alter-id": self.alter_id,
            "--security": self.security,
            "--allow-private": self.allow_private,
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
    def instead_of_a_file(self) -> Mapping[str, object]:
        """What stands for a configuration file, by the names that messages use."""
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
    """`trio-vmess bench`; without ciphers, all of them are measured."""

    ciphers: Sequence[str] = attrs.field(converter=_ciphers_or_all)
    seconds: float


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


Arguments: TypeAlias = (
    ServerArguments
    | ClientArguments
    | RunArguments
    | CheckArguments
    | DemoArguments
    | BenchArguments
    | StatsArguments
    | ExplainArguments
)


def parse_arguments(argv: Sequence[str] | None) -> Arguments:
    """Read the command line.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: argparse has answered by itself: 0 after --version or --help, 2 after a mistake.
    """
    parser = _build_parser()
    values = vars(parser.parse_args(argv))
    # The only place where arguments have no type: each class has the names that argparse stores.
    make: Callable[..., Arguments] | None = values.pop("make", None)
    if make is None:
        parser.print_help(sys.stderr)
        raise SystemExit(EXIT_USAGE)
    command: argparse.ArgumentParser = values.pop("command")
    arguments = make(**values)
    if problem := _find_conflict(arguments):
        command.error(problem)
    return arguments


def _find_conflict(arguments: Arguments) -> str | None:
    match arguments:
        case ServerArguments(config=str()) | ClientArguments(config=str()):
            for name, value in arguments.instead_of_a_file.items():
                if value is not None:
                    return f"{name} cannot be combined with --config; set it in the file"
        case ClientArguments(link=None):
            return "a vmess:// link or --config FILE is needed"
        case StatsArguments(connections=True, reset=True):
            return "--connections cannot be combined with --reset"
        case _:
            pass
    return None


_Add: TypeAlias = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, its class of arguments, its `summary` and `description`."""


# How it is read -----------------------------------------------------------------------------------


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trio-vmess",
        description="VMess, the encrypted proxy protocol of V2Ray, on Trio.",
        epilog="'trio-vmess COMMAND --help' lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND")

    def add(
        name: str, make: Callable[..., Arguments], *, summary: str, description: str
    ) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=summary, description=description)
        command.set_defaults(make=make, command=command)
        return command

    _add_server(add)
    _add_client(add)
    _add_file_commands(add)
    _add_trials(add)
    _add_stats(add)
    _add_explain(add)
    return parser


def _add_server(add: _Add) -> None:
    server = add(
        "server",
        ServerArguments,
        summary="serve VMess clients",
        description=(
            "Serve VMess clients. Without a file there is one user, with a new id unless --id is "
            "given."
        ),
    )
    server.add_argument("--config", metavar="FILE", help=_FILE_HELP)
    server.add_argument(
        "--listen",
        type=read_ip_address,
        metavar="IP",
        help="address to listen on; default: 0.0.0.0",
    )
    server.add_argument(
        "--port", type=read_port, metavar="N", help="port to listen on; default: any free port"
    )
    _add_user(server, alter_id="0, which means AEAD headers", security="auto")
    server.add_argument(
        "--allow-private",
        action="store_true",
        default=None,
        help="let clients reach this machine and its private networks",
    )
    _add_log_level(server)


def _add_client(add: _Add) -> None:
    client = add(
        "client",
        ClientArguments,
        summary="run a local proxy in front of a VMess server",
        description="Run a local SOCKS or HTTP proxy, or both, in front of a VMess server.",
    )
    client.add_argument("link", nargs="?", metavar="vmess://…", help="the server's share link")
    client.add_argument("--config", metavar="FILE", help=_FILE_HELP)
    client.add_argument(
        "--socks",
        type=read_local_endpoint,
        metavar="IP:PORT",
        help="SOCKS inbound; default: 127.0.0.1:1080 unless --http is given",
    )
    client.add_argument(
        "--http", type=read_local_endpoint, metavar="IP:PORT", help="HTTP inbound; default: none"
    )
    _add_user(client, alter_id="that of the link", security="that of the link")
    _add_log_level(client)


def _add_user(command: argparse.ArgumentParser, *, alter_id: str, security: str) -> None:
    """Add what describes a user; the words say what is taken by default."""
    command.add_argument(
        "--id", dest="user_id", type=read_user_id, metavar="UUID", help="the user's id"
    )
    command.add_argument(
        "--alter-id",
        type=read_alter_id,
        metavar="N",
        help=f"number of alter ids; default: {alter_id}",
    )
    command.add_argument(
        "--security",
        type=one_of(SecurityName),
        metavar="CIPHER",
        help=f"one of {list_values(SecurityName)}; default: {security}",
    )


def _add_log_level(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--log-level",
        type=one_of(LogLevel),
        metavar="LEVEL",
        help=f"of the error log: one of {list_values(LogLevel)}",
    )


def _add_file_commands(add: _Add) -> None:
    run = add(
        "run",
        RunArguments,
        summary="run a node from a configuration file",
        description="Run the node that a configuration file describes: server, client, or both.",
    )
    run.add_argument("--config", metavar="FILE", required=True, help=_FILE_HELP)
    _add_log_level(run)
    check = add(
        "check",
        CheckArguments,
        summary="check a configuration file without running it",
        description=(
            "Check a configuration file without running it. All mistakes are reported at once; the "
            "exit code is 23 if there are any."
        ),
    )
    check.add_argument("--config", metavar="FILE", required=True, help=_FILE_HELP)


def _add_trials(add: _Add) -> None:
    demo = add(
        "demo",
        DemoArguments,
        summary="run a server, a client and a web page on loopback",
        description="Run a server, a client and a web page on loopback; print a command to try.",
    )
    _add_log_level(demo)
    bench = add(
        "bench",
        BenchArguments,
        summary="measure a client and a server on this machine",
        description="Measure a client and a server on loopback, with each cipher (30 seconds).",
    )
    bench.add_argument(
        "--cipher",
        dest="ciphers",
        action="append",
        choices=_CIPHERS,
        metavar="CIPHER",
        help=f"measure only this one; may be repeated: {', '.join(_CIPHERS)}",
    )
    bench.add_argument(
        "--seconds",
        type=seconds_between(0.05, 60),
        default=1.5,
        metavar="N",
        help="duration of each measurement, 0.05 to 60; default: %(default)s",
    )


def _add_stats(add: _Add) -> None:
    stats = add(
        "stats",
        StatsArguments,
        summary="show the traffic counters of a running node",
        description="Show the traffic counters of a running node; its file must enable 'stats'.",
    )
    stats.add_argument(
        "--socket",
        metavar="PATH",
        help="the node's control socket; default: that of the only running node",
    )
    stats.add_argument("--json", action="store_true", help="print exact numbers as JSON")
    stats.add_argument("--reset", action="store_true", help="set the counters to 0 after reading")
    stats.add_argument(
        "--connections", action="store_true", help="show open connections instead of counters"
    )
    stats.add_argument(
        "--watch",
        type=seconds_between(0.1, 86_400),
        metavar="SECONDS",
        help="repeat at this interval until Ctrl-C",
    )


def _add_explain(add: _Add) -> None:
    explain = add(
        "explain",
        ExplainArguments,
        summary="show how a connection would be routed, and why",
        description=(
            "Show which rule decides about a connection, which outbound it takes, and which "
            "addresses would be dialled. Only name servers are contacted."
        ),
    )
    explain.add_argument(
        "destination", type=read_endpoint, metavar="HOST:PORT", help="the connection's destination"
    )
    explain.add_argument("--config", metavar="FILE", required=True, help=_FILE_HELP)
    explain.add_argument(
        "--network",
        type=one_of(Network),
        default=Network.TCP,
        metavar="NETWORK",
        help=f"one of {list_values(Network)}; default: %(default)s",
    )
    explain.add_argument(
        "--from",
        dest="inbound",
        metavar="TAG",
        help="tag of the inbound; default: the only inbound, if there is just one",
    )
    explain.add_argument("--user", default="", metavar="EMAIL", help="the user's email")
