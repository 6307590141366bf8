"""A network that loses, delays and reorders packets, for a program in a network namespace.

    unshare --net python -m tests.kit.bad_network loss|cut

A TUN interface has the address `HERE`. Every packet to `THERE` comes back with both addresses
exchanged, as if `THERE` were a machine that has connected to `HERE`, so two nodes in one process
speak with each other through it. What `tc netem` does is done here, because few kernels in
containers have it.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from typing import Final

import trio

from tests.kit.exchanges import check_download, check_upload
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.origin import start_sink, start_source
from tests.kit.peer_specs import ClientSpec, ServerSpec

HERE: Final = "10.9.0.1"
THERE: Final = "10.9.0.2"
CUT: Final = 4.0
"""Seconds in which no packet arrives."""

_SIZE: Final = 2 << 20
_CUT_AFTER: Final = 0.3
_LIMIT: Final = 60.0
_LOSS: Final = 0.02
_DELAYS: Final = (0.002, 0.012)
"""Seconds, from and to: packets overtake each other."""
_PACKET_SIZE_MAX: Final = 2048

# Source: Linux, include/uapi/linux/if_tun.h.
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000


class BadNetwork:
    """The interface, and a thread that carries its packets.

    Attributes:
        lost: packets that were dropped.
        overtaken: packets that came behind one that was sent later.
    """

    def __init__(self, seed: int) -> None:
        self.lost = 0
        self.overtaken = 0
        self._random = random.Random(seed)
        self._cut_until = 0.0
        self._tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self._tun, _TUNSETIFF, struct.pack("16sH", b"bad0", _IFF_TUN | _IFF_NO_PI))
        for command in (
            "ip link set lo up",
            f"ip address add {HERE}/24 dev bad0",
            "ip link set bad0 up",
        ):
            subprocess.run(command.split(), check=True, timeout=10)
        threading.Thread(target=self._carry, daemon=True).start()

    def cut(self) -> None:
        """Drop everything for `CUT` seconds."""
        self._cut_until = time.monotonic() + CUT

    def _carry(self) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        number = newest = 0
        while True:
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            if select.select([self._tun], [], [], pause)[0]:
                packet = os.read(self._tun, _PACKET_SIZE_MAX)
                number += 1
                now = time.monotonic()
                if now < self._cut_until or self._random.random() < _LOSS:
                    self.lost += 1
                elif packet[0] >> 4 == 4:
                    due = now + self._random.uniform(*_DELAYS)
                    turned = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                    heapq.heappush(waiting, (due, number, turned))
            while waiting and waiting[0][0] <= time.monotonic():
                _, sent, packet = heapq.heappop(waiting)
                self.overtaken += sent < newest
                newest = max(newest, sent)
                os.write(self._tun, packet)


async def transfer(kind: str) -> None:
    """Send and receive megabytes through two nodes with the bad network between them."""
    network = BadNetwork(seed=1)
    with trio.fail_after(_LIMIT):
        async with (
            start_server_node(ServerSpec(host=HERE)) as server,
            start_client_node(ClientSpec(server_port=server.port, server_host=THERE)) as client,
            start_source(_SIZE) as source,
            start_sink(size=_SIZE) as sink,
            trio.open_nursery() as nursery,
        ):
            begin = trio.current_time()
            nursery.start_soon(check_download, client.port, source, _SIZE)
            nursery.start_soon(check_upload, client.port, sink, _SIZE)
            if kind == "cut":
                await trio.sleep(_CUT_AFTER)
                network.cut()
    seconds = trio.current_time() - begin
    figures = f"lost={network.lost} overtaken={network.overtaken} seconds={seconds:.1f}"
    sys.stdout.write(f"whole {figures}\n")


if __name__ == "__main__":
    trio.run(transfer, sys.argv[1])
