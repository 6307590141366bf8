"""Where the CPU time of a new connection goes, from a bare forwarder to a VMess client.

    python benchmarks/connection.py [--count N] [--in-flight N]

Each line is one process that accepts connections and opens one of its own for each. The difference
between a line and the one above is the cost of a layer. Takes about half a minute; needs /proc.
"""

import argparse
import contextlib
import pathlib
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence

import attrs
import trio

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.kit.ports import free_port
from trio_vmess.bench import (
    OURS,
    BenchError,
    Child,
    LoadGenerator,
    OriginProcess,
    Pair,
    Setup,
    Target,
    find_implementations,
    own_environment,
    usage_of,
)

LOOPBACK = "127.0.0.1"
ROUNDS = 5


@attrs.frozen(kw_only=True)
class Step:
    """A process to be measured."""

    name: str
    pid: int
    target: Target


# The bare forwarder -------------------------------------------------------------------------------


async def pump(source: socket.socket, sink: socket.socket, buffer: memoryview) -> None:
    while True:
        await trio.lowlevel.wait_readable(source)
        size = source.recv_into(buffer)
        if not size:
            break
        sink.send(buffer[:size])
    sink.shutdown(socket.SHUT_WR)


async def forward(client: socket.socket, port: int, buffer: memoryview) -> None:
    remote = socket.create_connection((LOOPBACK, port))
    remote.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, client, remote, buffer, name="uplink")
        await pump(remote, client, buffer)
    client.close()
    remote.close()


async def run_forwarder(listen: int, port: int) -> None:
    """Do the least that a forwarder in Trio must do, without error handling or deadlines."""
    buffer = memoryview(bytearray(65_536))
    listener = socket.create_server((LOOPBACK, listen))
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        while True:
            await trio.lowlevel.wait_readable(listener)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client, _ = listener.accept()
                    client.setblocking(False)
                    nursery.start_soon(forward, client, port, buffer, name="connection")


# Measuring ----------------------------------------------------------------------------------------


def cpu_of(pid: int) -> tuple[float, float]:
    """Return the user and system seconds of a process."""
    usage = usage_of(pid)
    if usage is None:
        raise BenchError("a process has ended, or there is no /proc")
    return usage.user, usage.system


@contextlib.contextmanager
def started(name: str, command: Sequence[str], port: int) -> Iterator[Step]:
    child = Child(name, command, own_environment())
    try:
        child.wait_until_accepting(port)
        yield Step(name=name, pid=child.pid, target=Target(origin=port))
    finally:
        child.stop()


@contextlib.contextmanager
def all_steps(origin: int) -> Iterator[list[Step]]:
    with contextlib.ExitStack() as stack:
        bare, tunnel = free_port(), free_port()
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        file = pathlib.Path(folder, "tunnel.toml")
        file.write_text(
            'log = { access = "none" }\n'
            f'[[inbounds]]\nprotocol = "dokodemo-door"\nlisten = "{LOOPBACK}"\nport = {tunnel}\n'
            f'target_address = "{LOOPBACK}"\ntarget_port = {origin}\n'
            '[[outbounds]]\nprotocol = "freedom"\n'
        )
        python = sys.executable
        forwarder = [python, __file__, "--forward", f"{bare}:{origin}"]
        node = [python, "-m", "trio_vmess", "run", "--config", str(file)]
        steps = [
            stack.enter_context(started("a bare forwarder in Trio", forwarder, bare)),
            stack.enter_context(started("a node, dokodemo-door to freedom", node, tunnel)),
        ]
        ours = find_implementations(["none"])[OURS]
        for alter_id, header in ((0, "AEAD"), (64, "alterId 64")):
            pair = Pair(ours, ours, Setup(alter_id=alter_id), origin=origin)
            stack.enter_context(pair)
            pair.start()
            for role, path in (("server", "VMess to freedom"), ("client", "SOCKS to VMess")):
                name = f"a node, {path}, {header}"
                steps.append(Step(name=name, pid=pair.pid_of(role), target=pair.target))
        yield steps


def measure(steps: Sequence[Step], generator: LoadGenerator, count: int, in_flight: int) -> None:
    """Run the load on each step in turn, and print the CPU time of each."""
    for step in steps:
        generator.run("connections", step.target, count=count // 4, in_flight=in_flight)
    spent = {step.pid: [0.0, 0.0] for step in steps}
    for _ in range(ROUNDS):
        for step in steps:
            before = cpu_of(step.pid)
            generator.run("connections", step.target, count=count, in_flight=in_flight)
            for part, (now, then) in enumerate(zip(cpu_of(step.pid), before, strict=True)):
                spent[step.pid][part] += now - then
    print(f"\n{in_flight} at a time; µs of CPU for each connection")
    print(f"{'':<44}{'user':>8}{'system':>8}{'both':>8}")
    for step in steps:
        user, system = (seconds / ROUNDS / count * 1e6 for seconds in spent[step.pid])
        print(f"{step.name:<44}{user:>8.0f}{system:>8.0f}{user + system:>8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the CPU time of a new connection goes.")
    parser.add_argument("--count", type=int, default=1000, help="connections per round")
    parser.add_argument("--in-flight", type=int, help="connections at a time; default: 1, then 8")
    parser.add_argument("--forward", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.forward is not None:
        listen, port = map(int, arguments.forward.split(":"))
        trio.run(run_forwarder, listen, port)
        return
    with (
        OriginProcess() as origin,
        LoadGenerator() as generator,
        all_steps(origin.port) as steps,
    ):
        for in_flight in [arguments.in_flight] if arguments.in_flight else [1, 8]:
            measure(steps, generator, arguments.count, in_flight)


if __name__ == "__main__":
    main()
