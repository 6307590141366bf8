"""What a stranger can tell about a VMess port: our server beside V2Ray, sing-box and Xray.

    python benchmarks/prober.py [--step N] [--peers NAME,...]

Sends random bytes, cut, changed, repeated and outdated requests and other protocols, each with and
without FIN, and counts how differently a node behaves. Ends with 1 if trio-vmess shows more than
one face: silence, and the close when the handshake deadline is over, or at once after a FIN.
Takes about two minutes; --step 10 a few seconds for each node.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import attrs
import trio

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.kit.peer_configs import Json, v2ray_vmess_inbounds
from tests.kit.peer_specs import DynamicPorts, ServerSpec
from tests.kit.ports import free_port, free_port_range
from tests.kit.probes import Face, Known, Probe, count_faces, faults, list_probes, send_probes
from trio_vmess.bench import (
    OURS,
    SING_BOX,
    Child,
    Implementation,
    Setup,
    find_implementations,
    user_id,
)
from trio_vmess.core.vmess import Account, parse_user_id

HANDSHAKE: Final = 2
"""Seconds; V2Ray and Xray take whole ones."""
PATIENCE: Final = 5.0

_POLICY: Final[Json] = {"policy": {"levels": {"0": {"handshake": HANDSHAKE}}}}
_DYNAMIC_COUNT: Final = 4
_LOOK_AGAIN: Final = 0.05


@attrs.frozen(kw_only=True)
class Node:
    """A server to be probed.

    Attributes:
        name: of its row.
        implementation: its program.
        setup: its users.
        change: changes its configuration; returns the port to probe if it is not the main one.
    """

    name: str
    implementation: Implementation
    setup: Setup
    change: Callable[[Json], int | None] = lambda _configuration: None


def _inbounds(configuration: Json) -> list[Json]:
    return cast("list[Json]", configuration["inbounds"])


def _sniff(configuration: Json) -> None:
    for inbound in _inbounds(configuration):
        inbound["sniffing"] = {"enabled": True, "destOverride": ["http", "tls"]}


def _main_of_dynamic(configuration: Json) -> None:
    _add_dynamic_ports(configuration)


def _add_dynamic_ports(configuration: Json) -> int:
    """Add dynamic ports; return one of them, which all are open."""
    ports = free_port_range(_DYNAMIC_COUNT)
    plan = DynamicPorts(ports=ports, concurrency=_DYNAMIC_COUNT - 1)
    spec = ServerSpec(dynamic_ports=plan)
    inbounds = _inbounds(configuration)
    template = v2ray_vmess_inbounds(spec, 0)
    cast("Json", inbounds[0]["settings"])["detour"] = {"to": template[1]["tag"]}
    inbounds.append(template[1])
    return ports[0]


def list_nodes(peers: Sequence[str] | None) -> Iterator[Node]:
    for name, implementation in find_implementations(peers).items():
        for alter_id in (0, 4):
            if alter_id and not implementation.has_legacy:
                continue
            setup = Setup(alter_id=alter_id)
            yield Node(name=f"alterId {alter_id}", implementation=implementation, setup=setup)
            if name != OURS:
                continue
            many = attrs.evolve(setup, user_count=1000)
            ours = ((setup, "sniffing", _sniff), (setup, "dynamic ports", _main_of_dynamic))
            for each, option, change in ours:
                row = f"alterId {alter_id}, {option}"
                yield Node(name=row, implementation=implementation, setup=each, change=change)
            row = f"alterId {alter_id}, a dynamic port"
            yield Node(
                name=row, implementation=implementation, setup=setup, change=_add_dynamic_ports
            )
            row = f"alterId {alter_id}, 1000 users"
            yield Node(name=row, implementation=implementation, setup=many)


def probe_node(node: Node, step: int) -> dict[Probe, Face]:
    """Start a node, send it all probes, and return what they have seen."""
    main = free_port()
    configuration = node.implementation.write_server(node.setup, main)
    if node.implementation.name != SING_BOX:
        configuration |= _POLICY
    port = node.change(configuration) or main
    account = Account(
        user_id=parse_user_id(user_id(0)),
        alter_id_count=node.setup.alter_id,
        email="0@test.invalid",
    )
    with tempfile.TemporaryDirectory(prefix="trio-vmess-prober-") as folder:
        path = pathlib.Path(folder, "server.json")
        path.write_text(json.dumps(configuration), encoding="utf-8")
        child = Child(
            node.implementation.name,
            [*node.implementation.command, str(path)],
            node.implementation.environment,
        )
        try:
            child.wait_until_accepting(main)
            if port != main:
                port = _find_open(range(port, port + _DYNAMIC_COUNT))
            known = Known(account=account, now=int(time.time()), port=free_port())
            return trio.run(_send, port, list_probes(known, step=step))
        finally:
            child.stop()


async def _send(port: int, probes: list[Probe]) -> dict[Probe, Face]:
    return await send_probes(port, probes, deadline=HANDSHAKE, patience=PATIENCE)


def _find_open(ports: range) -> int:
    """Return a dynamic port; they open a moment after the main one."""

    async def find() -> int:
        while True:
            for port in ports:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                except OSError:
                    continue
                return port
            await trio.sleep(_LOOK_AGAIN)

    async def find_in_time() -> int:
        with trio.fail_after(PATIENCE):
            return await find()

    return trio.run(find_in_time)


def main() -> int:
    parser = argparse.ArgumentParser(description="What strangers can tell about a VMess port.")
    parser.add_argument("--step", type=int, default=1, help="send only each N-th of a kind")
    parser.add_argument("--peers", help="v2ray, sing-box, xray, or none; default: all installed")
    arguments = parser.parse_args()
    peers = None if arguments.peers is None else arguments.peers.lower().split(",")
    result = 0
    print("| node | probes | faces, open | faces, with FIN |")
    print("|---|---|---|---|")
    for node in list_nodes(peers):
        faces = probe_node(node, arguments.step)
        columns = (
            count_faces(faces, lambda probe: not probe.has_fin),
            count_faces(faces, lambda probe: probe.has_fin),
        )
        cells = (
            f"{len(column)}: " + "; ".join(f"{face} ({count})" for face, count in column.items())
            for column in columns
        )
        title = f"{node.implementation.name} {node.implementation.version}, {node.name}"
        print(f"| {title} | {len(faces)} | {' | '.join(cells)} |", flush=True)
        if node.implementation.name == OURS and (found := faults(faces)):
            result = 1
            for probe, face in found.items():
                print(f"another face: {title}: {probe}: {face}", file=sys.stderr)
    return result


if __name__ == "__main__":
    sys.exit(main())
