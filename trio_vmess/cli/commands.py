"""The command line: arguments in, an exit code out."""

import argparse
import contextlib
import gc
import ipaddress
import json
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.cli.arguments import CIPHERS, build_parser
from trio_vmess.cli.demo import start_demo
from trio_vmess.cli.logs import logging_to
from trio_vmess.cli.tables import format_connections, format_counters
from trio_vmess.config import (
    VMESS_TAG,
    Config,
    LogLevel,
    LogSettings,
    OutboundSettings,
    Role,
    SecurityName,
    VMessOutboundSettings,
    check_role,
    client_config,
    load_config,
    parse_share_link,
    reachable_host,
    server_config,
    server_share_link,
    share_link_outbound,
)
from trio_vmess.core import Destination, Network, parse_endpoint
from trio_vmess.errors import ConfigError, NoRouteError
from trio_vmess.node import Node
from trio_vmess.operations import ask, find_socket

EXIT_STOPPED: Final = 0
EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
"""The command line was not understood; argparse ends with the same."""
EXIT_CONFIG: Final = 23
"""The configuration is wrong; V2Ray ends with the same."""

_GC_THRESHOLDS: Final = (10_000, 20, 50)

Start = Callable[[trio.Nursery, trio.Nursery], Awaitable[Sequence[Node]]]
"""Starts nodes in the first nursery, and what serves them in the second."""


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
            case "bench":
                return _bench(arguments)
            case "stats":
                return _stats(parser, arguments)
            case "explain":
                return _explain(arguments)
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
    flags = ("listen", "port", "id", "alter_id", "security", "allow_private")
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
        allow_private=bool(arguments.allow_private),
        log=LogSettings(access=""),
    )

    def announce(node: Node) -> None:
        for each in node.listening:
            if each.tag != VMESS_TAG:
                continue
            link = server_share_link(
                host=reachable_host(listen),
                port=parse_endpoint(each.address)[1],
                user_id=user_id,
                alter_id=alter_id,
                security=SecurityName(arguments.security or "auto"),
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
    if not isinstance(outbound.protocol, VMessOutboundSettings):
        return outbound
    (server,) = outbound.protocol.servers
    (user,) = server.users
    if arguments.id is not None:
        user = attrs.evolve(user, id=arguments.id)
    if arguments.alter_id is not None:
        user = attrs.evolve(user, alter_id=arguments.alter_id)
    if arguments.security is not None:
        user = attrs.evolve(user, security=SecurityName(arguments.security))
    server = attrs.evolve(server, users=(user,))
    return attrs.evolve(outbound, protocol=attrs.evolve(outbound.protocol, servers=(server,)))


def _check(arguments: argparse.Namespace) -> int:
    # Data files and name servers show only here what is wrong with them.
    Node(_loaded(arguments, None))
    print("Configuration OK.")
    return EXIT_STOPPED


def _demo(arguments: argparse.Namespace) -> int:
    return _run_nodes(LogSettings(access=""), arguments, start_demo)


def _bench(arguments: argparse.Namespace) -> int:
    # Imported here alone: a node that serves should not carry it.
    from trio_vmess.bench import BenchError, run_bench

    try:
        run_bench(arguments.cipher or CIPHERS, seconds=arguments.seconds)
    except BenchError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_FAILURE
    return EXIT_STOPPED


def _stats(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if arguments.connections and arguments.reset:
        parser.error("stats: --connections and --reset do not go together")
    request: dict[str, object] = {"command": "stats", "reset": arguments.reset}
    show = format_counters
    if arguments.connections:
        request, show = {"command": "connections"}, format_connections
    clears = sys.stdout.isatty() and arguments.watch is not None and not arguments.json
    try:
        while True:
            answer = ask(arguments.socket or find_socket(), request)
            text = json.dumps(answer) if arguments.json else show(answer)
            print(f"\x1b[H\x1b[2J{text}" if clears else text, flush=True)
            if arguments.watch is None:
                return EXIT_STOPPED
            time.sleep(arguments.watch)
    except ValueError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_STOPPED


def _explain(arguments: argparse.Namespace) -> int:
    # Imported here alone, as with bench.
    from trio_vmess.diagnosis import Question, explain

    config = _loaded(arguments, None)
    host, port = arguments.destination
    inbound = arguments.inbound
    if inbound is None:
        inbound = config.inbounds[0].tag if len(config.inbounds) == 1 else ""
    question = Question(
        destination=Destination(host=host, port=port, network=Network(arguments.network)),
        inbound_tag=inbound,
        user=arguments.user,
    )
    try:
        print(*trio.run(explain, config, question), sep="\n")
    except NoRouteError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return EXIT_FAILURE
    return EXIT_STOPPED


def _run(
    config: Config, arguments: argparse.Namespace, announce: Callable[[Node], None] | None = None
) -> int:
    """Run one node until a signal comes."""
    # Built before anything runs: what is wrong with the configuration comes out as it is.
    node = Node(config)

    async def start(nodes: trio.Nursery, _background: trio.Nursery) -> Sequence[Node]:
        await nodes.start(node.run)
        for each in node.listening:
            print(f"listening: {each.protocol} on {each.address}{each.tag and f' ({each.tag})'}")
        if node.control_path:
            print(f"control: {node.control_path}")
        if announce is not None:
            announce(node)
        sys.stdout.flush()
        return (node,)

    return _run_nodes(config.log, arguments, start)


@contextlib.contextmanager
def _rarely_collecting() -> Iterator[None]:
    """Let Python look for garbage in cycles less often, and not at what lives as long as we do.

    A connection leaves none, and the search takes 4 % of what a new one costs.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _run_nodes(log: LogSettings, arguments: argparse.Namespace, start: Start) -> int:
    if arguments.log_level is not None:
        log = attrs.evolve(log, level=LogLevel(arguments.log_level))
    with logging_to(log), _rarely_collecting():
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
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return config
