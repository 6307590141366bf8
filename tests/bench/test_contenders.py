"""Who is measured: those that are installed, or those that are asked for."""

import pytest

from trio_vmess.bench.contenders import find_contenders, remedies
from trio_vmess.bench.implementations import PEERS, Implementation, own_implementation
from trio_vmess.bench.processes import BenchError


def a_peer(name: str) -> Implementation:
    """Return an implementation of that name, which is never started."""
    ours = own_implementation()
    return Implementation(
        name=name,
        command=["false"],
        version="1.2",
        write_server=ours.write_server,
        write_client=ours.write_client,
    )


def only_xray(name: str) -> Implementation | None:
    return a_peer(name) if name == "Xray" else None


def broken(name: str) -> Implementation:
    raise BenchError(f"{name} prints no version")


def test_whoever_is_installed_is_measured_after_us() -> None:
    contenders = find_contenders(None, only_xray)
    assert list(contenders.implementations) == ["trio-vmess", "Xray"]
    assert [peer.version for peer in contenders.peers] == ["1.2"]
    assert contenders.missing == ["V2Ray", "sing-box"]


def test_none_measures_us_alone_and_looks_for_nobody() -> None:
    contenders = find_contenders((), broken)
    assert list(contenders.implementations) == ["trio-vmess"]
    assert contenders.missing == []
    assert contenders.faults == {}


def test_an_installed_program_that_does_not_start_is_told_and_left_out() -> None:
    contenders = find_contenders(None, broken)
    assert list(contenders.implementations) == ["trio-vmess"]
    assert contenders.faults == {name: f"{name} prints no version" for name in PEERS}


def test_a_peer_that_is_asked_for_and_missing_is_an_error_with_a_remedy() -> None:
    with pytest.raises(BenchError, match=r"^not installed: V2Ray \(apt install v2ray\)$"):
        find_contenders(("v2ray", "xray"), only_xray)
    with pytest.raises(BenchError, match="sing-box prints no version"):
        find_contenders(("sing-box",), broken)


def test_remedies_are_one_line_and_known_for_every_peer() -> None:
    line = remedies(PEERS)
    assert "\n" not in line
    assert all(name in line for name in PEERS)
