"""Runs of datagrams that do not fit into the packets of a network of one's own."""

import sys

import pytest

from tests.kit.own_network import run_in_own_network, takes_own_network

pytestmark = takes_own_network


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["connected", "unconnected"])
def test_what_does_not_fit_into_packets_is_sent_singly(address: str, kind: str) -> None:
    done = run_in_own_network(sys.executable, "-m", "tests.kit.small_packets", address, kind)
    assert done.returncode == 0, done.stderr
    # Before Linux 6.14 the kernel's answer is another one.
    assert done.stdout.replace("EINVAL", "EMSGSIZE").splitlines() == [
        "1400 bytes in packets of 1500: runs sent, arrived",
        "1400 bytes in packets of 1280: runs EMSGSIZE, arrived",
        "1400 bytes in packets of 1280: runs none, arrived",
        "1200 bytes in packets of 1280: runs sent, arrived",
    ]
