"""A machine's public addresses are closed to remote users: in a network namespace that has some."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SETUP = """
set -e
ip link set lo up
ip address add 8.8.8.8/24 dev lo
ip address add 8.8.8.9/24 dev lo
ip address add 2a00:1450::8/64 dev lo nodad
ip route add default dev lo src 8.8.8.8
ip -6 route add default dev lo src 2a00:1450::8
echo {nonlocal_bind} > /proc/sys/net/ipv4/ip_nonlocal_bind
echo {nonlocal_bind} > /proc/sys/net/ipv6/ip_nonlocal_bind
exec "$@"
"""

_PROGRAM = """
import ipaddress, trio
from trio_vmess.core import Destination, Flow
from trio_vmess.errors import DialError
from trio_vmess.outbound import FreedomOutbound
from trio_vmess.transport import is_own_address

async def main():
    outbound = FreedomOutbound(tag="")
    for text in {own}:
        destination = Destination(host=ipaddress.ip_address(text), port=443)
        try:
            await outbound.connect(Flow(destination=destination, is_remote=True))
            print(text, "connected")
        except DialError as exc:
            print(text, exc.reason.name)

trio.run(main)
print(*map(is_own_address, map(ipaddress.ip_address, ["8.8.4.4", "2a00:1450::9", "1.1.1.1"])))
"""

OWN = [
    "8.8.8.8",
    "8.8.8.9",
    "2a00:1450::8",
    "::ffff:8.8.8.9",
    "2002:808:809::1",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize(
    ("nonlocal_bind", "own"),
    # Where any address can be bound, a second address of one network is not recognised.
    [(0, OWN), (1, ["8.8.8.8", "2a00:1450::8", "2002:808:808::1", "64:ff9b::808:808"])],
)
def test_addresses_of_all_interfaces_are_closed(nonlocal_bind: int, own: list[str]) -> None:
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    if unshare is None or ip is None:
        pytest.skip("unshare and ip are needed")
    trial = subprocess.run([unshare, "-rn", "true"], check=False, capture_output=True)
    if trial.returncode:
        pytest.skip("no network namespace may be made here")
    setup = _SETUP.format(nonlocal_bind=nonlocal_bind)
    done = subprocess.run(
        [unshare, "-rn", "sh", "-c", setup, "sh", sys.executable, "-c", _PROGRAM.format(own=own)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *(f"{text} FORBIDDEN" for text in own),
        "False False False",
    ]
