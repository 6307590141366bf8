"""Measuring nodes on this machine: `trio-vmess bench`, and the parts that benchmarks share.

    generator -> client node -> server node -> origin

Each is a process of its own, so that CPU and memory of the nodes can be told apart. The nodes may
be those of other implementations, where these are installed.
"""

from trio_vmess.bench.ciphers import run_ciphers
from trio_vmess.bench.command import run_comparison
from trio_vmess.bench.generator import LoadGenerator
from trio_vmess.bench.implementations import (
    OURS,
    PEERS,
    SING_BOX,
    V2RAY,
    XRAY,
    Implementation,
    find_implementations,
    user_id,
)
from trio_vmess.bench.loads import Figures, Target, connect
from trio_vmess.bench.machine import describe_processor
from trio_vmess.bench.origin import OriginProcess
from trio_vmess.bench.pairs import Pair
from trio_vmess.bench.processes import (
    BenchError,
    Child,
    Usage,
    ending_children,
    own_environment,
    python_command,
    usage_of,
)
from trio_vmess.bench.results import Line, format_number, summarise
from trio_vmess.bench.running import NO_PROXY, Checks, Comparison
from trio_vmess.bench.setups import Carrier, Json, Role, Setup, Size
from trio_vmess.bench.workloads import Column, Workload

__all__ = [
    "NO_PROXY",
    "OURS",
    "PEERS",
    "SING_BOX",
    "V2RAY",
    "XRAY",
    "BenchError",
    "Carrier",
    "Checks",
    "Child",
    "Column",
    "Comparison",
    "Figures",
    "Implementation",
    "Json",
    "Line",
    "LoadGenerator",
    "OriginProcess",
    "Pair",
    "Role",
    "Setup",
    "Size",
    "Target",
    "Usage",
    "Workload",
    "connect",
    "describe_processor",
    "ending_children",
    "find_implementations",
    "format_number",
    "own_environment",
    "python_command",
    "run_ciphers",
    "run_comparison",
    "summarise",
    "usage_of",
    "user_id",
]
