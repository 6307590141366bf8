"""Transfers arrive whole through a network that loses, delays, reorders and pauses."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.bad_network import CUT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux"
    or os.geteuid() != 0
    or not os.access("/dev/net/tun", os.W_OK)
    or not (shutil.which("unshare") and shutil.which("ip")),
    reason="a network of one's own takes Linux, root, /dev/net/tun, unshare and ip",
)


@pytest.mark.parametrize("kind", ["loss", "cut"])
def test_both_directions_arrive_whole(kind: str) -> None:
    if subprocess.run(["unshare", "--net", "true"], check=False, timeout=10).returncode:
        pytest.skip("this system lets nobody make a network namespace")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.kit.bad_network", kind],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"whole lost=(\d+) overtaken=(\d+) seconds=([\d.]+)", done.stdout)
    assert found is not None
    # Otherwise the network was none too bad.
    assert int(found[1]) > 10
    assert int(found[2]) > 10
    assert kind != "cut" or float(found[3]) > CUT
