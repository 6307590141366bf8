"""The options of each command in argparse, and conflicts between them.

Loaded when a command was named: `--version` and the list of commands need none of it.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from trio_vmess.cli.arguments import (
    ALL_CIPHERS,
    CIPHERS,
    Arguments,
    BenchArguments,
    CheckArguments,
    ClientArguments,
    DecodeArguments,
    DemoArguments,
    DoctorArguments,
    ExplainArguments,
    RunArguments,
    ServerArguments,
    StatsArguments,
)
from trio_vmess.cli.links import LINK_VARIABLE
from trio_vmess.cli.values import (
    PEER_NAMES,
    list_values,
    one_of,
    read_alter_id,
    read_endpoint,
    read_host,
    read_http_target,
    read_ip_address,
    read_local_endpoint,
    read_name_server,
    read_peers,
    read_port,
    read_time,
    read_url_path,
    read_user_id,
    seconds_between,
)
from trio_vmess.config import LogLevel, SecurityName
from trio_vmess.core import Network
from trio_vmess.core.vmess import DIALECTS, V2RAY

_FILE_HELP: Final = "TOML, or V2Ray 4 JSON"

_Make = Callable[..., Arguments]
"""A class of arguments, whose attributes are the names that argparse stores."""


def add_options(name: str, command: argparse.ArgumentParser) -> _Make:
    """Add the options of a command; return the class of its arguments."""
    add, make = _COMMANDS[name]
    add(command)
    return make


def choose_file(values: dict[str, Any]) -> str | None:
    """Make one of the two ways to name a file.

    Args:
        values: what argparse has stored; `config_file` goes into `config`.

    Returns:
        What is wrong with them, or None.
    """
    if "config_file" not in values:
        return None
    file = values.pop("config_file")
    if file is not None and values["config"] is not None:
        return "the configuration file is given twice; leave out --config"
    values["config"] = file if file is not None else values["config"]
    return None if values["config"] is not None else "the configuration file is missing"


def find_conflict(arguments: Arguments) -> str | None:
    """Return what is wrong about arguments that are right one by one, or None."""
    match arguments:
        case ServerArguments(config=str()) | ClientArguments(config=str()):
            for name, value in arguments.excluded_by_config.items():
                if value is not None:
                    return f"{name} cannot be combined with --config; set it in the file"
        case DoctorArguments(config=str(), link=str()):
            return "a vmess:// link cannot be combined with --config"
        case DoctorArguments(config=None, outbound=str()):
            return "--outbound is for --config: a link has no other outbound"
        case DoctorArguments(config=str()):
            pass
        case ClientArguments(link=None) | DoctorArguments(link=None) if not os.environ.get(
            LINK_VARIABLE
        ):
            return (
                f"a vmess:// link, @FILE, '-', {LINK_VARIABLE} in the environment, or --config "
                "FILE is needed"
            )
        case StatsArguments(connections=True, reset=True):
            return "--connections cannot be combined with --reset"
        case BenchArguments(ciphers=[_, *_]) if arguments.json or arguments.against is not None:
            name = "--json" if arguments.json else "--against"
            return f"{name} cannot be combined with --cipher, which measures trio-vmess alone"
        case _:
            pass
    return None


# Commands -----------------------------------------------------------------------------------------


class _Once(argparse.Action):
    """Stores a file; V2Ray merges several, which is not done here."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error("only one configuration file can be used: several are not merged")
        setattr(namespace, self.dest, values)


def _add_config(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    command.add_argument(
        "-c", "--config", action=_Once, metavar="FILE", required=required, help=_FILE_HELP
    )


def _add_file(command: argparse.ArgumentParser) -> None:
    command.add_argument("config_file", nargs="?", metavar="FILE", help=_FILE_HELP)
    command.add_argument(
        "-c", "--config", action=_Once, metavar="FILE", help="the same, as V2Ray has it"
    )


def _add_server(server: argparse.ArgumentParser) -> None:
    _add_config(server)
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


def _add_client(client: argparse.ArgumentParser) -> None:
    _add_link(client)
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


def _add_link(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "link",
        nargs="?",
        metavar="vmess://…",
        help=(
            "the server's share link; others on this machine see it in the list of processes, but "
            f"not with @FILE, '-' for standard input, or {LINK_VARIABLE} in the environment"
        ),
    )
    _add_config(command)


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


def _add_run(run: argparse.ArgumentParser) -> None:
    _add_file(run)
    _add_log_level(run)


def _add_check(check: argparse.ArgumentParser) -> None:
    _add_file(check)


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "--against",
        type=read_peers,
        default="auto",
        metavar="NAME,...",
        help=(
            f"compare with these: some of {', '.join(PEER_NAMES)}; 'auto' takes those that are "
            "installed, 'none' measures trio-vmess alone; default: %(default)s"
        ),
    )
    bench.add_argument(
        "--cipher",
        dest="ciphers",
        action="append",
        choices=(*CIPHERS, ALL_CIPHERS),
        metavar="CIPHER",
        help=(
            "measure trio-vmess alone, with this cipher; may be repeated: "
            f"{', '.join(CIPHERS)}, or {ALL_CIPHERS}"
        ),
    )
    bench.add_argument(
        "--seconds",
        type=seconds_between(0.05, 60),
        default=1.0,
        metavar="N",
        help="duration of each measurement, 0.05 to 60; default: %(default)s",
    )
    bench.add_argument("--json", action="store_true", help="print one JSON object")


def _add_stats(stats: argparse.ArgumentParser) -> None:
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


def _add_explain(explain: argparse.ArgumentParser) -> None:
    explain.add_argument(
        "destination", type=read_endpoint, metavar="HOST:PORT", help="the connection's destination"
    )
    _add_config(explain, required=True)
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


def _add_decode(decode: argparse.ArgumentParser) -> None:
    decode.add_argument("file", metavar="FILE", help="the recording; '-' for standard input")
    decode.add_argument(
        "--id",
        dest="user_id",
        type=read_user_id,
        required=True,
        metavar="UUID",
        help="the user's id",
    )
    decode.add_argument(
        "--alter-id",
        type=read_alter_id,
        default=64,
        metavar="N",
        help="how many alter ids to try for legacy headers; default: %(default)s",
    )
    decode.add_argument(
        "--time",
        type=read_time,
        metavar="TIME",
        help=(
            "when it was recorded, as UTC seconds or as 2026-11-21T13:40:09 (UTC, unless it ends "
            "in another offset); default: the capture's times, or now for hex text"
        ),
    )
    decode.add_argument(
        "--dialect",
        choices=sorted(DIALECTS),
        default=V2RAY.name,
        metavar="DIALECT",
        help=f"one of {', '.join(sorted(DIALECTS))}; default: %(default)s",
    )
    decode.add_argument(
        "--payload", action="store_true", help="show the first bytes of what chunks carry"
    )
    decode.add_argument(
        "--secrets", action="store_true", help="show the keys of bodies, and ids that are offered"
    )
    decode.add_argument("--json", action="store_true", help="print a JSON object for each finding")


def _add_doctor(doctor: argparse.ArgumentParser) -> None:
    _add_link(doctor)
    doctor.add_argument(
        "--outbound",
        metavar="TAG",
        help="the outbound of the file; default: the first with protocol vmess",
    )
    doctor.add_argument(
        "--target",
        type=read_http_target,
        default="http://www.gstatic.com/generate_204",
        metavar="URL",
        help="http://HOST/… or HOST:PORT, requested through the server; default: %(default)s",
    )
    doctor.add_argument(
        "--dns",
        type=read_name_server,
        default="1.1.1.1",
        metavar="IP[:PORT]",
        help="the name server that is asked through the server, by UDP; default: %(default)s",
    )
    doctor.add_argument(
        "--timeout",
        type=seconds_between(0.5, 60),
        default=6.0,
        metavar="SECONDS",
        help="for each part of each connection, 0.5 to 60; default: %(default)g",
    )
    doctor.add_argument(
        "--throughput",
        type=read_http_target,
        metavar="URL",
        help="download this http:// URL through the server for as long; default: no download",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


_COMMANDS: Final[Mapping[str, tuple[Callable[[argparse.ArgumentParser], None], _Make]]] = {
    "server": (_add_server, ServerArguments),
    "client": (_add_client, ClientArguments),
    "run": (_add_run, RunArguments),
    "check": (_add_check, CheckArguments),
    "demo": (_add_log_level, DemoArguments),
    "bench": (_add_bench, BenchArguments),
    "stats": (_add_stats, StatsArguments),
    "explain": (_add_explain, ExplainArguments),
    "decode": (_add_decode, DecodeArguments),
    "doctor": (_add_doctor, DoctorArguments),
}
