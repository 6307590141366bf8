"""Ports are free when given, and given once."""

import socket

import pytest

from tests.kit.names import IPV4_LOOPBACK
from tests.kit.ports import free_port, free_port_range, is_free


def test_ports_are_distinct_and_can_be_bound() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind((IPV4_LOOPBACK, port))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_taken_port_is_not_free(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((IPV4_LOOPBACK, 0))
        port = taken.getsockname()[1]
        assert not is_free(port)


def test_ranges_are_contiguous_and_do_not_overlap() -> None:
    first, second = free_port_range(5), free_port_range(5)
    assert (len(first), first.step) == (5, 1)
    assert not set(first) & set(second)
    assert all(is_free(port) for port in first)
    assert free_port() not in {*first, *second}


def test_range_skips_a_taken_port() -> None:
    next_port = free_port() + 1
    with socket.socket() as taken:
        taken.bind((IPV4_LOOPBACK, next_port + 1))
        assert next_port + 1 not in free_port_range(3)


def test_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        free_port_range(0)
