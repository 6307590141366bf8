"""The command line: arguments in, an exit code out."""

import argparse
import ipaddress
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess._version import __version__
from trio_vmess.app import Node, without_effect
from trio_vmess.config import (
    Config,
    LogLevel,
    LogSettings,
    OutboundSettings,
    Role,
    Security,
    VMessOutbound,
    check_role,
    load_config,
    parse_share_link,
    share_link_outbound,
)
from trio_vmess.core import parse_endpoint
from trio_vmess.core.vmess import parse_user_id
from trio_vmess.demo import start_demo
from trio_vmess.embedded import (
    VMESS_TAG,
    client_config,
    reachable_host,
    server_config,
    share_link,
)
from trio_vmess.errors import ConfigError
from trio_vmess.logs import logging_to

EXIT_STOPPED: Final = 0
EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
"""The command line was not understood; argparse ends with the same."""
EXIT_CONFIG: Final = 23
"""The configuration is wrong; V2Ray ends with the same."""

_SECURITIES: Final = tuple(security.value for security in Security)
_LEVELS: Final = tuple(level.value for level in LogLevel)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Start = Callable[[trio.Nursery, trio.Nursery], Awaitable[Sequence[Node]]]
"""Starts nodes in the first nursery, and what serves them in the second."""


def _ip_address(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text.strip("[]"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535 (0: any free one)")
    return int(text)


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

    commands.add_parser(
        "demo",
        parents=[common],
        help="server, client and something to fetch, on loopback",
        description="Run a server, a client and a web page on loopback, and say what to try.",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Returns:
        The exit code: 0 stopped, 1 could not run, 2 usage, 23 configuration.

    Raises:
        SystemExit: argparse has answered by itself: 0 after --version or --help, 2 after a mistake.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        match arguments.command:
            case "server":
                return _server(parser, arguments)
            case "client":
                return _client(parser, arguments)
            case "run":
                return _run(_loaded(arguments, None), arguments)
            case "check":
                return _check(arguments)
            case "demo":
                return _demo(arguments)
            case _:
                parser.print_help(sys.stderr)
                return EXIT_USAGE
    except ConfigError as exc:
        for problem in exc.problems:
            print(f"error: {problem}", file=sys.stderr)
        return EXIT_CONFIG
    except OSError as exc:
        print(f"error: {exc.strerror or exc}", file=sys.stderr)
        return EXIT_FAILURE


def _server(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    flags = ("listen", "port", "id", "alter_id", "security")
    if arguments.config is not None:
        _refuse_together(parser, arguments, flags)
        return _run(_loaded(arguments, "server"), arguments)
    listen = arguments.listen or ipaddress.IPv4Address("0.0.0.0")
    user_id = arguments.id or secrets.token_bytes(16)
    alter_id = arguments.alter_id or 0
    config = server_config(
        listen=listen,
        port=arguments.port or 0,
        user_id=user_id,
        alter_id=alter_id,
        allow_private=arguments.allow_private,
        log=LogSettings(access=""),
    )

    def announce(node: Node) -> None:
        for each in node.listening:
            if each.tag != VMESS_TAG:
                continue
            link = share_link(
                host=reachable_host(listen),
                port=parse_endpoint(each.address)[1],
                user_id=user_id,
                alter_id=alter_id,
                security=Security(arguments.security or "auto"),
                name="trio-vmess",
            )
            print(f"link:   {link}")
            print(f"client: trio-vmess client '{link}'", flush=True)

    return _run(config, arguments, announce)


def _client(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.config is not None:
        _refuse_together(parser, arguments, ("link", "socks", "http", "id", "alter_id", "security"))
        return _run(_loaded(arguments, "client"), arguments)
    if arguments.link is None:
        parser.error("client: a vmess:// link or --config FILE is needed")
    outbound = share_link_outbound(parse_share_link(arguments.link), tag="proxy")
    socks = arguments.socks
    if socks is None and arguments.http is None:
        socks = (ipaddress.IPv4Address("127.0.0.1"), 1080)
    config = client_config(
        outbound=_overridden(outbound, arguments),
        socks=socks,
        http=arguments.http,
        log=LogSettings(),
    )

    def announce(node: Node) -> None:
        schemes = {"socks": "socks5h", "http": "http"}
        for each in node.listening:
            print(f"try: curl -x {schemes[each.protocol]}://{each.address} https://example.com/")
        sys.stdout.flush()

    return _run(config, arguments, announce)


def _overridden(outbound: OutboundSettings, arguments: argparse.Namespace) -> OutboundSettings:
    """Return the link's outbound with what flags say instead."""
    if not isinstance(outbound.protocol, VMessOutbound):
        return outbound
    (server,) = outbound.protocol.servers
    (user,) = server.users
    if arguments.id is not None:
        user = attrs.evolve(user, id=arguments.id)
    if arguments.alter_id is not None:
        user = attrs.evolve(user, alter_id=arguments.alter_id)
    if arguments.security is not None:
        user = attrs.evolve(user, security=Security(arguments.security))
    server = attrs.evolve(server, users=(user,))
    return attrs.evolve(outbound, protocol=attrs.evolve(outbound.protocol, servers=(server,)))


def _check(arguments: argparse.Namespace) -> int:
    _loaded(arguments, None)
    print("Configuration OK.")
    return EXIT_STOPPED


def _demo(arguments: argparse.Namespace) -> int:
    return _run_nodes(LogSettings(access=""), arguments, start_demo)


def _run(
    config: Config, arguments: argparse.Namespace, announce: Callable[[Node], None] | None = None
) -> int:
    """Run one node until a signal comes."""

    async def start(nodes: trio.Nursery, _background: trio.Nursery) -> Sequence[Node]:
        node: Node = await nodes.start(Node(config).run)
        for each in node.listening:
            print(f"listening: {each.protocol} on {each.address}{each.tag and f' ({each.tag})'}")
        if announce is not None:
            announce(node)
        sys.stdout.flush()
        return (node,)

    return _run_nodes(config.log, arguments, start)


def _run_nodes(log: LogSettings, arguments: argparse.Namespace, start: Start) -> int:
    if arguments.log_level is not None:
        log = attrs.evolve(log, level=LogLevel(arguments.log_level))
    with logging_to(log):
        try:
            trio.run(_supervise, start)
        except* OSError as group:
            # Nurseries wrap; what a listener could not do is one plain sentence.
            raise OSError(*_sole(group).args) from None
    return EXIT_STOPPED


def _sole(group: BaseExceptionGroup[OSError]) -> OSError:
    first = group.exceptions[0]
    return _sole(first) if isinstance(first, BaseExceptionGroup) else first


async def _supervise(start: Start) -> None:
    """Run nodes: one signal stops them gently, a second one at once."""
    async with trio.open_nursery() as outer:
        stopping: list[Node] = []
        await outer.start(_obey_signals, stopping, outer.cancel_scope)
        async with trio.open_nursery() as nodes:
            stopping += await start(nodes, outer)
        outer.cancel_scope.cancel()


async def _obey_signals(
    nodes: Sequence[Node],
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        asked = False
        async for _ in signals:
            if asked or not nodes:
                scope.cancel()
                return
            asked = True
            for node in nodes:
                node.stop()


def _refuse_together(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, names: Sequence[str]
) -> None:
    for name in names:
        if getattr(arguments, name) is not None:
            shown = "a link" if name == "link" else f"--{name.replace('_', '-')}"
            parser.error(f"{shown} and --config do not go together: the file says it all")


def _loaded(arguments: argparse.Namespace, role: Role | None) -> Config:
    config = load_config(arguments.config)
    if role is not None:
        check_role(config, role)
    for warning in (*config.warnings, *without_effect(config)):
        print(f"warning: {warning}", file=sys.stderr)
    return config
