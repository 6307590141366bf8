"""Very many connections through one client and one server: do memory and cost stay flat?

    python benchmarks/churn.py [--connections N]

Opens, uses and closes connections, eight at a time, and prints memory and CPU of both nodes after
each tenth. Connections leave no cycles, and the nodes hardly ever search for any: whatever they
left behind would show here. Memory is compared from the second tenth on, without the entries of the
replay cache, which keeps the requests of four minutes. Ends with 1 if it has grown by over 5 %.
"""

import argparse
import pathlib
import sys
from typing import Final

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks.soak import GROWTH_MAX, REPLAY_ENTRY_SIZE
from trio_vmess.bench import (
    OURS,
    LoadGenerator,
    OriginProcess,
    Pair,
    Setup,
    find_implementations,
)

STEPS: Final = 10
IN_FLIGHT: Final = 8
_MEBI: Final = 1 << 20


def churn(connections: int) -> float:
    """Print a line for each tenth; return by which share memory has grown since the second."""
    ours = find_implementations(["none"])[OURS]
    count = connections // STEPS
    sizes: list[float] = []
    with (
        OriginProcess() as origin,
        LoadGenerator() as generator,
        Pair(ours, ours, Setup(), origin=origin.port) as pair,
    ):
        pair.start()
        for step in range(1, STEPS + 1):
            before = pair.usage()
            generator.run("connections", pair.target, count=count, in_flight=IN_FLIGHT)
            spent = pair.spent_since(before)
            server, client = pair.memory("server"), pair.memory("client")
            sizes.append(server + client - step * count * REPLAY_ENTRY_SIZE)
            print(
                f"{step * count:8} connections  "
                f"server {server / _MEBI:6.1f} MiB {spent.server / count * 1e6:5.0f} µs  "
                f"client {client / _MEBI:6.1f} MiB {spent.client / count * 1e6:5.0f} µs",
                flush=True,
            )
    return sizes[-1] / sizes[1] - 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Do memory and cost of connections stay flat?")
    parser.add_argument("--connections", type=int, default=100_000)
    grown = churn(parser.parse_args().connections)
    print(f"grown by {grown:+.1%} beside the replay cache, at most {GROWTH_MAX:.0%}")
    return 0 if grown <= GROWTH_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
