"""Transfers arrive whole through a network that loses, delays, reorders and pauses."""

import os
import re
import sys

import pytest

from tests.kit.bad_network import CUT
from tests.kit.own_network import run_in_own_network, takes_own_network

pytestmark = [
    takes_own_network,
    pytest.mark.skipif(
        not os.access("/dev/net/tun", os.W_OK), reason="the bad network takes /dev/net/tun"
    ),
]


@pytest.mark.parametrize("kind", ["loss", "cut"])
def test_both_directions_arrive_whole(kind: str) -> None:
    done = run_in_own_network(sys.executable, "-m", "tests.kit.bad_network", kind, timeout=90)
    assert done.returncode == 0, done.stderr
    found = re.search(r"whole lost=(\d+) overtaken=(\d+) seconds=([\d.]+)", done.stdout)
    assert found is not None
    # Otherwise the network was none too bad.
    assert int(found[1]) > 10
    assert int(found[2]) > 10
    assert kind != "cut" or float(found[3]) > CUT
