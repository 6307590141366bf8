"""Datagrams over an interface whose packets become smaller, in a network namespace.

    unshare --net python -m tests.kit.small_packets 127.0.0.1|::1 connected|unconnected

The kernel cuts a large datagram into several packets, but not one in a run. Each line on standard
output is a batch: the size of each datagram, what became of its runs, and whether the same
datagrams have reached the peer in the same order.
"""

import socket
import subprocess
import sys
from typing import Final

import trio

from tests.kit.run_socket import RunSocket
from trio_vmess.transport import DatagramSocket

_BATCHES: Final = ((1500, 1400), (1280, 1400), (1280, 1400), (1280, 1200))
"""The largest packet of the interface, and the size of datagrams; IPv6 allows no less."""

_COUNT: Final = 20
_LIMIT: Final = 20.0


async def send_batches(address: str, *, is_connected: bool) -> None:
    """Send large datagrams while they fit into packets, and when they do not any more."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    set_packet_size(_BATCHES[0][0])
    sock, peer_sock = RunSocket(family), socket.socket(family, socket.SOCK_DGRAM)
    datagrams, peer = DatagramSocket(sock), DatagramSocket(peer_sock)
    peer_sock.bind((address, 0))
    if is_connected:
        sock.connect(peer_sock.getsockname())
    for packet_size, size in _BATCHES:
        set_packet_size(packet_size)
        batch = [bytes([number]) * size for number in range(_COUNT)]
        dropped = datagrams.send(batch, None if is_connected else peer_sock.getsockname())
        received: list[bytes] = []
        while len(received) < _COUNT - dropped:
            received += [datagram for datagram, _ in await peer.receive()]
        runs = ",".join(sock.take_outcomes()) or "none"
        outcome = "arrived" if received == batch else "lost"
        sys.stdout.write(f"{size} bytes in packets of {packet_size}: runs {runs}, {outcome}\n")
    datagrams.close()
    peer.close()


def set_packet_size(size: int) -> None:
    """Set the MTU of loopback, and its state to up."""
    subprocess.run(f"ip link set lo up mtu {size}".split(), check=True, timeout=10)


async def _main(address: str, kind: str) -> None:
    with trio.fail_after(_LIMIT):
        await send_batches(address, is_connected=kind == "connected")


if __name__ == "__main__":
    trio.run(_main, *sys.argv[1:])
