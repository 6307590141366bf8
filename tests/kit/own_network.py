"""Programs in a network namespace of their own, where they may change interfaces and routes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]

takes_own_network: Final = pytest.mark.skipif(
    sys.platform != "linux"
    or os.geteuid() != 0
    or not (shutil.which("unshare") and shutil.which("ip")),
    reason="a network of one's own takes Linux, root, unshare and ip",
)


def run_in_own_network(*command: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, in the folder of the project.

    The interfaces of the namespace are down. The test is skipped if the system allows none.
    """
    if subprocess.run(["unshare", "--net", "true"], check=False, timeout=10).returncode:
        pytest.skip("this system lets nobody make a network namespace")
    return subprocess.run(
        ["unshare", "--net", *command],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
