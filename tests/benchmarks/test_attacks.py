"""The benchmarks that attack nodes run, and what they promise of trio-vmess holds."""

import sys
from typing import Final

import pytest

from benchmarks.soak import growth
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
    assert after < before + 30


@LINUX
def test_memory_is_flat_in_a_minute_of_mixed_load() -> None:
    done = run_python("benchmarks/soak.py", "--seconds", "45", "--connections", "50", limit=90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed: {}" in done.stdout


def test_growth_is_that_of_memory_but_for_the_replay_cache() -> None:
    flat = [(number * 100, 50 * MEBI) for number in range(1, 31)]
    assert growth(flat, 900.0) < 0.01
    leak = [(number * 100, 50 * MEBI + number * MEBI) for number in range(1, 31)]
    assert growth(leak, 900.0) > 0.2
    # Each request of the first minutes adds an entry.
    entries = [(number * 1000, 50 * MEBI + number * 1000 * 200) for number in range(1, 31)]
    assert growth(entries, 60.0) < 0.01
