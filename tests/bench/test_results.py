"""Tables and ratios of made-up figures; no process is started."""

import math
from collections.abc import Mapping

import pytest

from tests.bench.test_contenders import a_peer
from trio_vmess.bench.command import describe, list_faults, list_workloads, write_rows
from trio_vmess.bench.contenders import Contenders
from trio_vmess.bench.implementations import own_implementation
from trio_vmess.bench.machine import Machine
from trio_vmess.bench.results import Line, summarise
from trio_vmess.bench.running import Result
from trio_vmess.bench.workloads import Column

NAMES = ["trio-vmess", "V2Ray", "Xray"]
MACHINE = Machine(processor="2 cores of a CPU", cores=2, python="CPython 3.11.2", load=0.25)


def results_of(rounds: Mapping[str, list[tuple[float, float]]]) -> list[Result]:
    """Return the results of the first workload, with rates and costs."""
    workload = list_workloads()[0]
    figures = {
        name: [{"rate": rate, "cpu": cpu, "load_share": 0.95} for rate, cpu in each]
        for name, each in rounds.items()
    }
    return [Result(workload=workload, rounds=figures)]


def test_a_row_has_the_medians_of_all_and_the_ratio_to_the_best_peer() -> None:
    results = results_of(
        {
            "trio-vmess": [(100.0, 9.0), (300.0, 2.0), (310.0, 1.0)],
            "V2Ray": [(100.0, 3.0)] * 3,
            "Xray": [(150.0, 8.0)] * 3,
        }
    )
    rate, cost = summarise(results)
    assert (rate.best_peer, rate.ratio) == ("Xray", 2.0)
    assert (cost.best_peer, cost.ratio) == ("V2Ray", 1.5)
    assert list(write_rows([rate, cost], NAMES)) == [
        "workload  figure       trio-vmess  V2Ray  Xray  ratio",
        "down      MB/s *              300    100   150   2.00",
        "          CPU s/GiB *           2      3     8   1.50",
    ]


def test_without_peers_there_are_no_ratios() -> None:
    lines = summarise(results_of({"trio-vmess": [(300.0, 2.0)]}))
    assert [line.ratio for line in lines] == [None, None]
    assert [line.best_peer for line in lines] == [None, None]
    heading, *_ = write_rows(lines, ["trio-vmess"])
    assert heading.split() == ["workload", "figure", "trio-vmess"]


def test_a_peer_that_failed_has_dashes_and_counts_for_no_ratio() -> None:
    results = results_of({"trio-vmess": [(300.0, 2.0)], "V2Ray": [(100.0, 3.0)]})
    results[0].rounds["Xray"] = [{"rate": 900.0, "cpu": 0.1}]
    results[0].faults["Xray"] = "it ended"
    rate, _ = summarise(results)
    assert rate.ratio == 3.0
    *_, row, _ = write_rows(summarise(results), NAMES)
    assert row.split() == ["down", "MB/s", "*", "300", "100", "-", "3.00"]


def test_a_fault_is_told_once_with_all_the_workloads_that_it_concerns() -> None:
    first, second, *_ = (
        Result(workload=each, faults={"V2Ray": "it ended"}) for each in list_workloads()
    )
    contenders = Contenders(implementations={}, faults={"Xray": "no version"})
    assert list_faults(contenders, [first, second]) == [
        "Xray: no version",
        "V2Ray (down; up): it ended",
    ]


def test_what_the_system_does_not_tell_is_a_dash() -> None:
    lines = summarise(results_of({name: [(300.0, math.nan)] for name in NAMES}))
    *_, row = write_rows(lines, NAMES)
    assert row.split() == ["CPU", "s/GiB", "*", "-", "-", "-", "-"]


def test_json_has_the_figures_and_who_is_the_best_peer() -> None:
    column = Column(key="cpu", unit="CPU s/GiB", is_cost=True)
    line = Line(name="down", column=column, medians={"trio-vmess": 2.0, "V2Ray": 3.0})
    implementations = {"trio-vmess": own_implementation(), "V2Ray": a_peer("V2Ray")}
    contenders = Contenders(implementations=implementations, missing=["Xray"])
    found = describe(MACHINE, contenders, [line], ["V2Ray: it ended"], 0.5)
    assert found["results"] == [
        {
            "workload": "down",
            "figure": "CPU s/GiB",
            "is_cost": True,
            "is_load_bound": False,
            "values": {"trio-vmess": 2.0, "V2Ray": 3.0},
            "best_peer": "V2Ray",
            "ratio": 1.5,
        }
    ]
    assert found["faults"] == ["V2Ray: it ended"]
    assert found["missing"] == ["Xray"]


@pytest.mark.parametrize(
    ("cores", "load", "is_warned"),
    [(2, 0.9, False), (2, 1.0, True), (8, 3.9, False), (1, None, False)],
)
def test_a_busy_machine_is_warned_of(cores: int, load: float | None, is_warned: bool) -> None:
    machine = Machine(processor="CPU", cores=cores, python="CPython", load=load)
    assert bool(machine.warning) is is_warned
    assert ("load average" in machine.line) is (load is not None)
