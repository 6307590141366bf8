import socket
from ipaddress import ip_address

import pytest

from trio_vmess.cli.addresses import reachable_host


@pytest.mark.parametrize("listen", ["192.0.2.7", "127.0.0.1", "2001:db8::7"])
def test_a_specific_address_is_reachable_itself(listen: str) -> None:
    assert reachable_host(ip_address(listen)) == ip_address(listen)


@pytest.mark.parametrize(
    ("listen", "local"), [("0.0.0.0", "198.51.100.5"), ("::", "2001:db8:5::5")]
)
def test_a_wildcard_stands_for_the_address_that_the_system_connects_from(
    monkeypatch: pytest.MonkeyPatch, listen: str, local: str
) -> None:
    connected: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, target: connected.append(target))
    monkeypatch.setattr(socket.socket, "getsockname", lambda _: (local, 5))
    assert reachable_host(ip_address(listen)) == ip_address(local)
    assert len(connected) == 1


@pytest.mark.parametrize(("listen", "loopback"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_without_a_route_only_this_machine_is_left(
    monkeypatch: pytest.MonkeyPatch, listen: str, loopback: str
) -> None:
    def fail(_: socket.socket, target: object) -> None:
        raise OSError(f"no route to {target}")

    monkeypatch.setattr(socket.socket, "connect", fail)
    assert reachable_host(ip_address(listen)) == ip_address(loopback)
