"""Measuring nodes on this machine: `trio-vmess bench`, and the parts that benchmarks share.

    generator -> client node -> server node -> origin

Each is a process of its own, so that CPU and memory of the nodes can be told apart.
"""

from trio_vmess.bench.command import run_bench
from trio_vmess.bench.generator import LoadGenerator
from trio_vmess.bench.loads import Figures, Target, connect
from trio_vmess.bench.origin import OriginProcess
from trio_vmess.bench.processes import (
    BenchError,
    Child,
    Usage,
    own_environment,
    python_command,
    usage_of,
)

__all__ = [
    "BenchError",
    "Child",
    "Figures",
    "LoadGenerator",
    "OriginProcess",
    "Target",
    "Usage",
    "connect",
    "own_environment",
    "python_command",
    "run_bench",
    "usage_of",
]
