"""The comparison measures transports, and notices a program that does not use them."""

import sys
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

import attrs
import pytest

import trio_vmess
from benchmarks.comparison.carrier_check import check_carrier
from benchmarks.comparison.carriers import carried_by
from tests.kit.carriers import BARE, EARLY_DATA, TLS, WS, WS_TLS, CarrierSpec
from tests.kit.commands import run_python
from trio_vmess.bench import (
    OURS,
    BenchError,
    Column,
    Implementation,
    Line,
    Setup,
    find_implementations,
)

LINUX: Final = pytest.mark.skipif(sys.platform != "linux", reason="figures come from /proc")
H2: Final = CarrierSpec(network="h2", tls=True)
GRPC: Final = CarrierSpec(network="grpc", tls=True)
EARLY: Final = CarrierSpec(network="ws", early_data=EARLY_DATA)
CHECKED: Final = tuple(
    CarrierSpec(network=network, tls=tls)
    for network in ("ws", "httpupgrade", "h2", "grpc")
    for tls in (False, True)
)


@pytest.fixture
def ours() -> Implementation:
    return find_implementations(())[OURS]


def test_our_byte_code_is_in_place_before_anything_is_measured(ours: Implementation) -> None:
    package = Path(trio_vmess.__file__).parent
    sources = sorted(package.rglob("*.py"))
    assert package / "node" / "node.py" in sources
    assert [each for each in sources if not Path(cache_from_source(str(each))).exists()] == []


@LINUX
def test_every_transport_is_measured() -> None:
    done = run_python(
        "benchmarks/compare.py",
        *("--size", "tiny", "--peers", "none"),
        *("--only", "transports-bulk-up,transports-connections-ws+tls-1,transports-idle"),
        limit=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| transports-")]
    assert len(rows) == 10
    assert all(float(row.split("|")[3]) > 0 for row in rows)


@LINUX
def test_no_first_byte_comes_before_its_round_trips() -> None:
    """Of 50 ms each; what is measured beyond them is the machine's business."""
    trips = {"tcp": 2, "ws+tls": 4, "ws+tls+early": 3, "mux": 1, "tcp-spares": 1}
    done = run_python(
        "benchmarks/compare.py",
        *("--size", "tiny", "--peers", "none"),
        *("--only", ",".join(f"first-byte-{name}" for name in trips)),
        limit=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "ms to the first byte" in line]
    found = {row[1].strip().removeprefix("first-byte-"): float(row[3]) for row in rows}
    assert found.keys() == trips.keys()
    for name, count in trips.items():
        assert found[name] >= 50 * count


@pytest.mark.parametrize("carrier", [TLS, EARLY, *CHECKED], ids=str)
def test_a_client_that_uses_its_carrier_passes(
    ours: Implementation, carrier: CarrierSpec, tmp_path: Path
) -> None:
    check_carrier(ours, Setup(carrier=carried_by(carrier)), tmp_path)


@pytest.mark.parametrize(
    ("used", "told", "fault"),
    [
        (BARE, TLS, "no TLS"),
        (TLS, WS, "TLS without being told to"),
        (BARE, WS, "not the request of a tunnel"),
        (TLS, WS_TLS, "not the request of a tunnel"),
        (WS_TLS, TLS, "HTTP inside"),
        (WS, EARLY, "no early data"),
        (WS_TLS, H2, "ProtocolError"),
        (H2, GRPC, "not the request of a tunnel"),
    ],
    ids=str,
)
def test_a_client_that_uses_another_carrier_is_noticed(
    ours: Implementation, used: CarrierSpec, told: CarrierSpec, fault: str, tmp_path: Path
) -> None:
    deaf = attrs.evolve(
        ours,
        write_client=lambda setup, server, port: ours.write_client(
            attrs.evolve(setup, carrier=carried_by(used)), server, port
        ),
    )
    with pytest.raises(BenchError, match=fault):
        check_carrier(deaf, Setup(carrier=carried_by(told)), tmp_path)


def test_a_target_may_be_a_ratio_to_one_peer() -> None:
    column = Column(key="cpu", unit="s", is_cost=True, targets=(("sing-box", 1.4), ("V2Ray", 2.0)))
    medians = {"trio-vmess": 2.0, "sing-box": 3.0, "V2Ray": 3.9, "Xray": 1.0}
    line = Line(name="load", column=column, medians=medians)
    assert line.verdict == "met: 1.4 to sing-box; MISSED: 2 to V2Ray"
    del medians["sing-box"]
    assert attrs.evolve(line, medians=medians).verdict == "MISSED: 2 to V2Ray"
