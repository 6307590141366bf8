"""The benchmarks that attack nodes run, and what they promise of trio-vmess holds."""

import sys
from typing import Final

import pytest

from benchmarks.soak import Sample, growth
from tests.kit.commands import run_python

LINUX: Final = pytest.mark.skipif(sys.platform != "linux", reason="figures come from /proc")
MEBI: Final = 1 << 20


@LINUX
def test_the_prober_finds_one_face() -> None:
    done = run_python("benchmarks/prober.py", "--step", "50", "--peers", "none", limit=120)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| trio-vmess")]
    assert len(rows) == 10, done.stderr
    # With a thousand users, tables are built meanwhile, and a busy machine may be late.
    assert all("1: FIN at the deadline" in row for row in rows if "users" not in row), done.stdout


@LINUX
def test_the_flood_is_measured() -> None:
    done = run_python("benchmarks/flood.py", "--strangers", "600", "--peers", "none", limit=90)
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("| trio-vmess"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert all(float(cell) > 0 for cell in cells[1:3])
    before, _, after = map(int, cells[5].split(","))
    # The target is a tenth; figures are rounded to MiB.
    assert after <= 1.1 * before + 1


@LINUX
def test_memory_is_flat_in_a_minute_of_mixed_load() -> None:
    done = run_python("benchmarks/soak.py", "--seconds", "45", "--connections", "50", limit=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed: {}" in done.stdout


def test_growth_is_that_of_memory_but_for_the_replay_cache() -> None:
    numbers = range(1, 31)
    flat = [Sample(30.0 * n, 100 * n, 50 * MEBI) for n in numbers]
    assert abs(growth(flat)) < 0.001
    leak = [Sample(30.0 * n, 100 * n, (50 + n) * MEBI) for n in numbers]
    assert growth(leak) > 0.2
    # Each request of the first four minutes adds an entry,
    begin = [Sample(2.0 * n, 1000 * n, 50 * MEBI + 200_000 * n) for n in numbers]
    assert abs(growth(begin)) < 0.001
    # and later only those of four minutes that are busier than all before.
    steady = [Sample(30.0 * n, 1000 * n, 50 * MEBI + 200_000 * n) for n in numbers]
    assert growth(steady) > 0.05
    more = [max(0, n - 20) for n in numbers]
    busier = [
        Sample(30.0 * n, 1000 * (n + extra), 50 * MEBI + 200_000 * min(8, extra))
        for n, extra in zip(numbers, more, strict=True)
    ]
    assert abs(growth(busier)) < 0.001
    # What is no longer needed is not given back.
    calmer = [Sample(30.0 * n, 1000 * min(n, 20), 50 * MEBI) for n in numbers]
    assert abs(growth(calmer)) < 0.001
