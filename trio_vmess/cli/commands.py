"""What each command does."""

import ipaddress
import json
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, assert_never

import attrs
import trio

from trio_vmess import config as configuration
from trio_vmess.cli.addresses import reachable_host
from trio_vmess.cli.arguments import (
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
from trio_vmess.cli.links import find_link
from trio_vmess.cli.logs import check_log_files
from trio_vmess.cli.quick_server import client_stream, find_doubts, server_stream
from trio_vmess.cli.supervisor import run_node, run_nodes
from trio_vmess.cli.tables import format_certificates, format_connections, format_counters
from trio_vmess.config import (
    Config,
    LogSettings,
    OutboundSettings,
    Role,
    SecurityName,
    VMessOutboundSettings,
    check_role,
    load_config,
    validate,
)
from trio_vmess.core import Destination, parse_endpoint
from trio_vmess.errors import ConfigProblem, NoRouteError, RecordingError
from trio_vmess.node import Node
from trio_vmess.operations import find_socket, send_request

_CLEAR_SCREEN: Final = "\x1b[H\x1b[2J"


class CommandError(Exception):
    """A command failed; the text gives the reason."""


class ReportedFailure(Exception):  # noqa: N818  (nothing went wrong here)
    """A command has found a failure, and has said so itself."""


def run_command(arguments: Arguments) -> None:
    """Run a command until it ends.

    Raises:
        CommandError: the command failed.
        ConfigError: the configuration is wrong.
        ReportedFailure: the command has reported a failure.
        OSError: a port is taken, for example; the text is a message for the user.
    """
    match arguments:
        case ServerArguments():
            _serve(arguments)
        case ClientArguments():
            _run_client(arguments)
        case RunArguments():
            run_node(_load(arguments.config), arguments.log_level)
        case CheckArguments():
            config = _load(arguments.config)
            # Building the node also checks its data files and name servers.
            node = Node(config)
            check_log_files(config)
            print("Configuration OK.")
            for each in node.certificates:
                print(*format_certificates(each.summary), sep="\n")
        case DemoArguments():
            _demo(arguments)
        case BenchArguments():
            _bench(arguments)
        case StatsArguments():
            _show_stats(arguments)
        case ExplainArguments():
            _explain(arguments)
        case DecodeArguments():
            _decode(arguments)
        case DoctorArguments():
            _diagnose(arguments)
        case _:
            assert_never(arguments)


def _load(file: str, role: Role | None = None) -> Config:
    config = load_config(file)
    if role is not None:
        check_role(config, role)
    _warn(config.warnings)
    return config


def _warn(warnings: Iterable[ConfigProblem]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


# Nodes --------------------------------------------------------------------------------------------


def _serve(arguments: ServerArguments) -> None:
    if arguments.config is not None:
        run_node(_load(arguments.config, "server"), arguments.log_level)
        return
    listen = arguments.listen or ipaddress.IPv4Address("0.0.0.0")
    user_id = arguments.user_id or secrets.token_bytes(16)
    alter_id = arguments.alter_id or 0
    config = configuration.server_config(
        listen=listen,
        port=arguments.port or 0,
        user_id=user_id,
        alter_id=alter_id,
        allow_private=bool(arguments.allow_private),
        stream=server_stream(arguments),
        log=LogSettings(access=""),
    )
    _warn(validate(config))

    def link_lines(node: Node) -> Iterator[str]:
        host = arguments.name or reachable_host(listen)
        certificate = next((each.certificates[0] for each in node.certificates), None)
        if certificate is not None:
            for doubt in find_doubts(certificate, host):
                yield f"warning: {doubt}"
        for each in node.listening:
            if each.tag != configuration.VMESS_TAG:
                continue
            link = configuration.server_share_link(
                host=host,
                port=parse_endpoint(each.address)[1],
                user_id=user_id,
                alter_id=alter_id,
                security=arguments.security or SecurityName.AUTO,
                name="trio-vmess",
                stream=client_stream(arguments, host, certificate),
            )
            yield f"link:   {link}"
            yield f"client: trio-vmess client '{link}'"

    run_node(config, arguments.log_level, link_lines)


def _run_client(arguments: ClientArguments) -> None:
    if arguments.config is not None:
        run_node(_load(arguments.config, "client"), arguments.log_level)
        return
    link = find_link(arguments.link, environ=os.environ, stdin=sys.stdin)
    outbound = configuration.share_link_outbound(configuration.parse_share_link(link), tag="proxy")
    socks = arguments.socks
    if socks is None and arguments.http is None:
        socks = (ipaddress.IPv4Address("127.0.0.1"), 1080)
    config = configuration.client_config(
        outbound=_override(outbound, arguments),
        socks=socks,
        http=arguments.http,
        log=LogSettings(),
    )
    _warn(validate(config))

    def curl_lines(node: Node) -> Iterator[str]:
        schemes = {"socks": "socks5h", "http": "http"}
        for each in node.listening:
            yield f"try: curl -x {schemes[each.protocol]}://{each.address} https://example.com/"

    run_node(config, arguments.log_level, curl_lines)


def _override(outbound: OutboundSettings, arguments: ClientArguments) -> OutboundSettings:
    """Return the link's outbound, changed by the flags that were given."""
    if not isinstance(outbound.protocol, VMessOutboundSettings):
        return outbound
    (server,) = outbound.protocol.servers
    (user,) = server.users
    if arguments.user_id is not None:
        user = attrs.evolve(user, id=arguments.user_id)
    if arguments.alter_id is not None:
        user = attrs.evolve(user, alter_id=arguments.alter_id)
    if arguments.security is not None:
        user = attrs.evolve(user, security=arguments.security)
    server = attrs.evolve(server, users=(user,))
    return attrs.evolve(outbound, protocol=attrs.evolve(outbound.protocol, servers=(server,)))


# Demo, bench, stats, explain, decode, doctor ------------------------------------------------------


def _demo(arguments: DemoArguments) -> None:
    # Imported here to keep it out of the memory of a running node.
    from trio_vmess.cli.demo import start_demo

    run_nodes(LogSettings(access=""), arguments.log_level, start_demo)


def _bench(arguments: BenchArguments) -> None:
    # Imported here for the same reason as the demo.
    from trio_vmess.bench import BenchError, ending_children, run_ciphers, run_comparison

    try:
        with ending_children():
            if arguments.ciphers:
                run_ciphers(arguments.ciphers, seconds=arguments.seconds)
            else:
                run_comparison(arguments.against, seconds=arguments.seconds, as_json=arguments.json)
    except BenchError as exc:
        raise CommandError(str(exc)) from None
    except KeyboardInterrupt:
        raise CommandError("interrupted") from None


def _show_stats(arguments: StatsArguments) -> None:
    request: Mapping[str, object]
    if arguments.connections:
        request, show = {"command": "connections"}, format_connections
    else:
        request, show = {"command": "stats", "reset": arguments.reset}, format_counters
    before = ""
    if arguments.watch is not None and not arguments.json and sys.stdout.isatty():
        before = _CLEAR_SCREEN
    try:
        while True:
            response = send_request(arguments.socket or find_socket(), request)
            text = json.dumps(response) if arguments.json else show(response)
            print(f"{before}{text}", flush=True)
            if arguments.watch is None:
                return
            time.sleep(arguments.watch)
    except ValueError as exc:
        raise CommandError(str(exc)) from None
    except KeyboardInterrupt:
        return


def _explain(arguments: ExplainArguments) -> None:
    # Imported here for the same reason as the demo.
    from trio_vmess.diagnosis import HypotheticalFlow, explain

    config = _load(arguments.config)
    host, port = arguments.destination
    inbound = arguments.inbound
    if inbound is None:
        inbound = config.inbounds[0].tag if len(config.inbounds) == 1 else ""
    flow = HypotheticalFlow(
        destination=Destination(host=host, port=port, network=arguments.network),
        inbound_tag=inbound,
        user=arguments.user,
    )
    try:
        print(*trio.run(explain, config, flow), sep="\n")
    except NoRouteError as exc:
        raise CommandError(str(exc)) from None


def _decode(arguments: DecodeArguments) -> None:
    # Imported here for the same reason as bench.
    from trio_vmess.cli.decode import NothingFoundError, run_decode

    try:
        run_decode(arguments, now=int(time.time()))
    except NothingFoundError as exc:
        raise CommandError(str(exc)) from None
    except RecordingError as exc:
        raise CommandError(f"{arguments.file}: {exc}") from None
    except ModuleNotFoundError as exc:
        raise CommandError(str(exc)) from None
    except KeyboardInterrupt:
        raise CommandError("interrupted") from None


def _diagnose(arguments: DoctorArguments) -> None:
    # Imported here for the same reason as bench.
    from trio_vmess.cli.doctor import diagnose

    try:
        is_well = diagnose(arguments, environ=os.environ, stdin=sys.stdin, stdout=sys.stdout)
    except KeyboardInterrupt:
        raise CommandError("interrupted") from None
    if not is_well:
        raise ReportedFailure
