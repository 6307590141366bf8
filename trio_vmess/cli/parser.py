"""The command line in argparse: commands, options, help, and conflicts between options."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from trio_vmess._version import __version__
from trio_vmess.cli.arguments import (
    CIPHERS,
    Arguments,
    BenchArguments,
    CheckArguments,
    ClientArguments,
    DemoArguments,
    ExplainArguments,
    RunArguments,
    ServerArguments,
    StatsArguments,
)
from trio_vmess.cli.links import LINK_VARIABLE
from trio_vmess.cli.values import (
    list_values,
    one_of,
    read_alter_id,
    read_endpoint,
    read_host,
    read_ip_address,
    read_local_endpoint,
    read_port,
    read_url_path,
    read_user_id,
    seconds_between,
)
from trio_vmess.config import LogLevel, SecurityName
from trio_vmess.core import Network

EXIT_USAGE: Final = 2
"""The command line was not understood; argparse uses the same code."""

_FILE_HELP: Final = "TOML, or V2Ray 4 JSON"

_Add: TypeAlias = Callable[..., argparse.ArgumentParser]
"""Adds a command: its name, its class of arguments, its `summary` and `description`."""


def parse_arguments(argv: Sequence[str] | None) -> Arguments:
    """Read the command line.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: from argparse: 0 after --version or --help, 2 after a mistake.
    """
    parser = _build_parser()
    values = vars(parser.parse_args(argv))
    # The only place where arguments are untyped: each class has the attribute names that argparse
    # stores.
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
            for name, value in arguments.excluded_by_config.items():
                if value is not None:
                    return f"{name} cannot be combined with --config; set it in the file"
        case ClientArguments(link=None) if not os.environ.get(LINK_VARIABLE):
            return (
                f"a vmess:// link, @FILE, '-', {LINK_VARIABLE} in the environment, or --config "
                "FILE is needed"
            )
        case StatsArguments(connections=True, reset=True):
            return "--connections cannot be combined with --reset"
        case _:
            pass
    return None


# Commands -----------------------------------------------------------------------------------------


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
        "--ws",
        type=read_url_path,
        metavar="PATH",
        help="carry VMess by WebSocket, with requests for this path; default: bare TCP",
    )
    server.add_argument(
        "--tls",
        nargs=2,
        metavar=("CERTIFICATE", "KEY"),
        help="use TLS, with a certificate and its key in these PEM files",
    )
    server.add_argument(
        "--name",
        type=read_host,
        metavar="HOST",
        help=(
            "name or address under which clients reach this server, for the link; default: this "
            "machine's address"
        ),
    )
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
    client.add_argument(
        "link",
        nargs="?",
        metavar="vmess://…",
        help=(
            "the server's share link; others on this machine see it in the list of processes, but "
            f"not with @FILE, '-' for standard input, or {LINK_VARIABLE} in the environment"
        ),
    )
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
    """Add the options that describe a user; the arguments are texts about their defaults."""
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
        choices=CIPHERS,
        metavar="CIPHER",
        help=f"measure only this one; may be repeated: {', '.join(CIPHERS)}",
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
