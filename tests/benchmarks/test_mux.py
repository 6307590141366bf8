"""The comparison measures shared connections, and notices a program that does not share them."""

import sys
from typing import Final

import attrs
import pytest

from benchmarks.comparison.sharing_check import check_sharing, connection_count
from tests.kit.commands import run_python
from trio_vmess.bench import (
    OURS,
    BenchError,
    Implementation,
    OriginProcess,
    Pair,
    Setup,
    find_implementations,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="figures come from /proc")

MUX: Final = Setup(mux=8)
TABLE: Final = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:2766 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:A001 0100007F:2766 01 00000000:00000000 00:00000000 00000000     0
   2: 0100007F:2766 0100007F:A001 01 00000000:00000000 00:00000000 00000000     0
   3: 0100007F:A002 0100007F:2766 06 00000000:00000000 00:00000000 00000000     0
   4: 0100007F:A003 0100007F:2767 01 00000000:00000000 00:00000000 00000000     0
"""


@pytest.fixture
def ours() -> Implementation:
    return find_implementations(())[OURS]


def test_every_load_on_shared_connections_is_measured() -> None:
    names = "bulk-down-mux,bulk-up-mux,round-trips-beside-bulk-mux"
    done = run_python(
        "benchmarks/compare.py", "--size", "tiny", "--peers", "none", "--only", names, limit=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if "-mux" in line.partition("|")[2]]
    assert len(rows) == 5
    assert all(float(row.split("|")[3]) > 0 for row in rows)


def test_connections_to_a_port_are_counted_once_and_while_they_last() -> None:
    assert connection_count(0x2766, TABLE) == 1
    assert connection_count(0x2768, TABLE) == 0


def test_a_client_that_shares_passes_and_one_that_does_not_is_noticed(
    ours: Implementation,
) -> None:
    deaf = attrs.evolve(
        ours,
        write_client=lambda setup, server, port: ours.write_client(
            attrs.evolve(setup, mux=0), server, port
        ),
    )
    with OriginProcess() as origin:
        with Pair(ours, ours, MUX, origin=origin.port) as pair:
            pair.start()
            check_sharing(pair)
        with Pair(deaf, ours, MUX, origin=origin.port) as pair:
            pair.start()
            with pytest.raises(BenchError, match="2 connections of programs had 2 to the server"):
                check_sharing(pair)


def test_who_has_no_mux_is_no_contender(ours: Implementation) -> None:
    without = attrs.evolve(ours, has_mux=False)
    assert ours.can_be(MUX)
    assert not without.can_be(MUX)
    assert without.can_be(Setup())
