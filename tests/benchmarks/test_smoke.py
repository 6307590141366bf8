"""The benchmarks and `trio-vmess bench` run and report figures; no test judges speed."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from benchmarks.comparison.report import write_table
from tests.kit.commands import run_python, running_command
from tests.kit.peers import PEERS, Peer, require
from trio_vmess.bench import Column, Line

LIMIT: Final = 60
LINUX: Final = pytest.mark.skipif(sys.platform != "linux", reason="figures come from /proc")


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


def run(*arguments: str) -> str:
    """Run Python on the package as it lies here; return what it prints."""
    done = run_python(*arguments, limit=LIMIT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells_of(text: str, row: str) -> list[str]:
    """Return the cells of the only row that begins with `row`."""
    (line,) = (line for line in text.splitlines() if line.startswith(row))
    return [cell.strip() for cell in line.strip("|").split("|")]


@LINUX
def test_the_comparison_measures_trio_vmess(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    out = run(
        "benchmarks/compare.py",
        *("--size", "tiny", "--peers", "none", "--markdown", str(report)),
        *("--only", "bulk-up-aes-128-gcm-1,round-trips,udp-200,connections-aead-8,idle"),
    )
    assert report.read_text() in out + "\n"
    for row in ("| bulk-up", "| round-trips ", "| udp-200", "| connections-aead-8", "| idle"):
        ours = float(cells_of(out, row)[2])
        assert ours > 0


@LINUX
def test_the_connection_benchmark_measures_every_step() -> None:
    out = run("benchmarks/connection.py", "--count", "12", "--in-flight", "3")
    lines = [line for line in out.splitlines() if line.startswith("a ")]
    assert len(lines) == 6
    assert any(int(line.split()[-1]) > 0 for line in lines)


@LINUX
def test_the_churn_benchmark_reports_each_tenth() -> None:
    done = run_python("benchmarks/churn.py", "--connections", "100", limit=LIMIT)
    *steps, verdict = done.stdout.splitlines()
    assert [line.split()[0] for line in steps] == [str(10 * step) for step in range(1, 11)]
    assert verdict.startswith("grown by ")


def test_an_unknown_workload_is_a_usage_error() -> None:
    done = run_python("benchmarks/compare.py", "--only", "nonsense", limit=LIMIT)
    assert done.returncode == 2
    assert "--only matches no workload" in done.stderr


def test_the_codec_benchmark_prints_its_table() -> None:
    out = run("benchmarks/codec.py", "--quick")
    assert "| aes-128-gcm | S+M+P |" in out


def test_bench_measures_every_load() -> None:
    out = run("-m", "trio_vmess", "bench", "--seconds", "0.05", "--cipher", "chacha20-poly1305")
    rows = [line.split() for line in out.splitlines()]
    (cells,) = (row for row in rows if row[:1] == ["chacha20-poly1305"])
    assert len(cells) == 9
    assert all(float(cell) > 0 for cell in (*cells[1:3], cells[5], *cells[7:]))
    assert any(row[:2] == ["no", "proxy"] for row in rows)


@pytest.mark.parametrize(
    ("is_cost", "ours", "peers", "ratio", "verdict"),
    [
        (False, 300.0, (100.0, 200.0), 1.5, "met: 1.2"),
        (False, 100.0, (100.0, 200.0), 0.5, "MISSED: 1.2"),
        (True, 1.0, (3.0, 2.0), 2.0, "met: 1.2"),
        (True, 4.0, (3.0, 2.0), 0.5, "MISSED: 1.2"),
    ],
)
def test_a_ratio_compares_with_the_best_peer_and_the_target(
    is_cost: bool, ours: float, peers: tuple[float, float], ratio: float, verdict: str
) -> None:
    column = Column(key="rate", unit="per s", is_cost=is_cost, target=1.2)
    medians = {"trio-vmess": ours, "V2Ray": peers[0], "Xray": peers[1], "no proxy": 9.0}
    line = Line(name="load", column=column, medians=medians)
    assert line.ratio == pytest.approx(ratio)
    assert line.verdict == verdict
    (_, _, row) = write_table([line], ["trio-vmess", "V2Ray", "Xray"])
    assert verdict in row


@LINUX
@pytest.mark.parametrize("peer", PEERS.values(), ids=str)
def test_bench_compares_with_a_peer(peer: Peer) -> None:
    require(peer)
    arguments = ("--against", peer.name, "--seconds", "0.2", "--json")
    done = run_python("-m", "trio_vmess", "bench", *arguments, limit=120)
    assert done.returncode == 0, done.stderr
    # Progress is for people.
    assert done.stderr == ""
    found = json.loads(done.stdout)
    ours, theirs = found["versions"]
    assert (ours, theirs.lower()) == ("trio-vmess", peer.name)
    assert found["faults"] == []
    workloads = {each["workload"] for each in found["results"]}
    assert {"down", "up", "round trip", "connections, 1", "connections, 8", "UDP"} < workloads
    for each in found["results"]:
        assert each["values"][ours] > 0
        assert each["values"][theirs] > 0
        assert each["best_peer"] == theirs
        assert each["ratio"] > 0


@LINUX
def test_bench_without_peers_has_a_table_of_ours() -> None:
    out = run("-m", "trio_vmess", "bench", "--against", "none", "--seconds", "0.05")
    rows = [line.split() for line in out.splitlines()]
    (down,) = (row for row in rows if row[:2] == ["down", "MB/s"])
    assert float(down[-1]) > 0
    assert "load average" in out


@LINUX
def test_an_interrupted_bench_leaves_no_process_behind() -> None:
    with running_command("bench", "--against", "none", "--seconds", "30") as process:
        # Origin, two generators, client and server.
        end = time.monotonic() + LIMIT
        while len(children := children_of(process.pid)) < 5:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) != 0
        assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
