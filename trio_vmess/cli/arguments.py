"""The command line's words: what may be said, and what it is read into."""

import argparse
import ipaddress
from typing import Final, TypeAlias

from trio_vmess._version import __version__
from trio_vmess.config import LogLevel, SecurityName
from trio_vmess.core import Host, IPAddress, parse_endpoint
from trio_vmess.core.vmess import parse_user_id

_SECURITIES: Final = tuple(security.value for security in SecurityName)
CIPHERS: Final = tuple(word for word in _SECURITIES if word != SecurityName.AUTO.value)
_LEVELS: Final = tuple(level.value for level in LogLevel)


def _ip_address(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text.strip("[]"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535 (0: any free one)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.05 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 0.05 to 60 seconds")
    return value


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 0.1 to 86400 seconds")
    return value


def _destination(text: str) -> tuple[Host, int]:
    try:
        return parse_endpoint(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _alter_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{text!r} is no alterId: 0 to 65535")
    return int(text)


def _local_endpoint(text: str) -> tuple[IPAddress, int]:
    try:
        host, port = parse_endpoint(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return _ip_address(str(host)), port


def _user_id(text: str) -> bytes:
    try:
        return parse_user_id(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


# argparse has no public name for it.
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="trio-vmess",
        description="VMess, the encrypted proxy protocol of V2Ray, on Trio.",
        epilog="'trio-vmess COMMAND --help' says more.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--log-level", choices=_LEVELS, metavar="LEVEL", help=f"one of {', '.join(_LEVELS)}"
    )
    _add_halves(commands, common)
    _add_files(commands, common)
    _add_trials(commands, common)
    _add_questions(commands)
    return parser


def _add_halves(commands: _Commands, common: argparse.ArgumentParser) -> None:
    """Add the two commands that need no file."""
    one_user = argparse.ArgumentParser(add_help=False)
    one_user.add_argument("--id", type=_user_id, metavar="UUID", help="the user id")
    one_user.add_argument(
        "--alter-id", type=_alter_id, metavar="N", help="default: 0, AEAD headers"
    )
    one_user.add_argument(
        "--security", choices=_SECURITIES, metavar="WORD", help=f"one of {', '.join(_SECURITIES)}"
    )

    server = commands.add_parser(
        "server",
        parents=[one_user, common],
        help="serve VMess clients",
        description="Serve VMess clients. Without a file: one user, fresh unless --id is given.",
    )
    server.add_argument("--config", metavar="FILE", help="TOML, or V2Ray 4 JSON")
    server.add_argument("--listen", type=_ip_address, metavar="IP", help="default: 0.0.0.0")
    server.add_argument("--port", type=_port, metavar="N", help="default: any free port")
    server.add_argument(
        "--allow-private",
        action="store_true",
        default=None,
        help="let clients reach this machine and its private networks",
    )

    client = commands.add_parser(
        "client",
        parents=[one_user, common],
        help="a local proxy in front of a VMess server",
        description="A local SOCKS proxy (and HTTP, if asked for) in front of a VMess server.",
    )
    client.add_argument("link", nargs="?", metavar="vmess://…", help="the server's share link")
    client.add_argument("--config", metavar="FILE", help="TOML, or V2Ray 4 JSON")
    client.add_argument(
        "--socks", type=_local_endpoint, metavar="IP:PORT", help="default: 127.0.0.1:1080"
    )
    client.add_argument("--http", type=_local_endpoint, metavar="IP:PORT", help="default: none")


def _add_files(commands: _Commands, common: argparse.ArgumentParser) -> None:
    """Add the commands that are about a file."""
    run = commands.add_parser(
        "run",
        parents=[common],
        help="run any node from a file",
        description="Run whatever a file describes: a server, a client, or both.",
    )
    run.add_argument("--config", metavar="FILE", required=True, help="TOML, or V2Ray 4 JSON")

    check = commands.add_parser(
        "check",
        help="check a file and start nothing",
        description="Check a configuration file: every mistake in one run, and exit 23 if any.",
    )
    check.add_argument("--config", metavar="FILE", required=True, help="TOML, or V2Ray 4 JSON")


def _add_trials(commands: _Commands, common: argparse.ArgumentParser) -> None:
    """Add the commands that show what this is, and how fast."""
    commands.add_parser(
        "demo",
        parents=[common],
        help="server, client and something to fetch, on loopback",
        description="Run a server, a client and a web page on loopback, and say what to try.",
    )

    bench = commands.add_parser(
        "bench",
        help="measure a client and a server on this machine",
        description="Measure a client and a server on loopback with every cipher: half a minute.",
    )
    bench.add_argument(
        "--cipher",
        action="append",
        choices=CIPHERS,
        metavar="WORD",
        help=f"this one only; may be repeated: {', '.join(CIPHERS)}",
    )
    bench.add_argument(
        "--seconds",
        type=_seconds,
        default=1.5,
        metavar="N",
        help="how long each measurement takes, 0.05 to 60; default: %(default)s",
    )


def _add_questions(commands: _Commands) -> None:
    """Add the commands that ask: a running node, or a configuration."""
    stats = commands.add_parser(
        "stats",
        help="the traffic counters of a running node",
        description="Ask a running node for its counters; 'stats' must be on in its file.",
    )
    stats.add_argument(
        "--socket", metavar="PATH", help="its control socket; default: that of the one that runs"
    )
    stats.add_argument("--json", action="store_true", help="exact numbers, for programs")
    stats.add_argument("--reset", action="store_true", help="begin to count from 0 again")
    stats.add_argument(
        "--connections", action="store_true", help="what is running now, not the counters"
    )
    stats.add_argument(
        "--watch", type=_interval, metavar="SECONDS", help="again and again, until Ctrl-C"
    )

    explain = commands.add_parser(
        "explain",
        help="which way a connection would take, and why",
        description="Say which rule decides, which outbound it is, and which addresses.",
    )
    explain.add_argument(
        "destination", type=_destination, metavar="HOST:PORT", help="where it would go"
    )
    explain.add_argument("--config", metavar="FILE", required=True, help="TOML, or V2Ray 4 JSON")
    explain.add_argument("--network", choices=("tcp", "udp"), default="tcp", metavar="WORD")
    explain.add_argument(
        "--from",
        dest="inbound",
        metavar="INBOUND",
        help="the tag of the inbound it comes by; default: that of the only one, if there is one",
    )
    explain.add_argument("--user", default="", metavar="EMAIL", help="who asks; default: nobody")
