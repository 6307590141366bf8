"""The machine's resolver, with files and a name server of the test's own."""

import ipaddress
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from tests.kit.descriptors import open_descriptors
from tests.kit.name_server import NameServer, addresses, start_name_server
from tests.kit.resolver import TableResolver
from trio_vmess.core import IPAddress
from trio_vmess.dns import SystemFiles, SystemResolver
from trio_vmess.dns.system import LOOK_AGAIN_AFTER, THREADS_OF_ONE
from trio_vmess.dns.turns import TURNS_OF_ONE
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.node.dns import FlowDialer
from trio_vmess.outbound import FreedomOutbound
from trio_vmess.transport import resolve

ANN, BOB = ("in", b"ann"), ("in", b"bob")
HANGING = [f"hanging-{number}.example" for number in range(200)]


async def straight(_flow: object) -> FreedomOutbound:
    return FreedomOutbound(tag="")


async def never(
    name: str, _family: object, *, limiter: trio.CapacityLimiter | None = None
) -> list[IPAddress]:
    raise AssertionError(f"the machine was asked for {name}")


class Machine:
    """Files that name one server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = SystemFiles(
            resolv=folder / "resolv",
            hosts=folder / "hosts",
            services=folder / "services",
            preferences=folder / "preferences",
        )
        self.write("resolv", "nameserver 127.0.0.1\nsearch corp.example\noptions timeout:2\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def resolver(self, server: NameServer, *, call: object = never) -> SystemResolver:
        return SystemResolver(
            call=call,  # type: ignore[arg-type]
            dialer=FlowDialer(straight),
            prefer=list,
            files=self.files,
            port=server.port,
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in ("RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES"):
        monkeypatch.delenv(name, raising=False)
    return Machine(tmp_path)


ZONE = {
    ("www.example", "A"): ["192.0.2.1"],
    ("www.example", "AAAA"): ["2001:db8::1"],
    ("printer.corp.example", "A"): ["192.0.2.3"],
    ("deep.site.corp.example", "A"): ["192.0.2.4"],
}


async def test_names_are_looked_up_as_the_files_say(machine: Machine) -> None:
    machine.write("hosts", "192.0.2.9 fixed.example alias\n2001:db8::9 www.example\n")
    async with start_name_server(ZONE) as server:
        names = machine.resolver(server)
        assert await names.resolve("fixed.example") == addresses("192.0.2.9")
        assert await names.resolve("ALIAS") == addresses("192.0.2.9")
        assert server.asked == []
        assert await names.resolve("printer") == addresses("192.0.2.3")
        assert await names.resolve("deep.site") == addresses("192.0.2.4")
        with pytest.raises(DialError, match=r"missing\.corp\.example has no address") as caught:
            await names.resolve("missing")
        assert caught.value.reason is DialFailure.NAME_NOT_FOUND
        # The hosts file has no IPv4 address of it, as the C library sees it.
        assert await names.resolve("www.example", socket.AF_INET) == addresses("192.0.2.1")
        assert await names.resolve("www.example") == addresses("2001:db8::9")


async def test_answers_are_cached(machine: Machine) -> None:
    async with start_name_server(ZONE) as server:
        names = machine.resolver(server)
        for _ in range(3):
            found = await names.resolve("www.example")
            assert found == addresses("192.0.2.1", "2001:db8::1")
        assert server.count("www.example") == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("LocalHost.", ["127.0.0.1", "::1"]),
        ("a.b.localhost", ["127.0.0.1", "::1"]),
        ("127.1", ["127.0.0.1"]),
        ("0x7f000001", ["127.0.0.1"]),
        ("2130706433", ["127.0.0.1"]),
    ],
)
async def test_nobody_is_asked(name: str, expected: Sequence[str], machine: Machine) -> None:
    async with start_name_server() as server:
        names = machine.resolver(server)
        assert await names.resolve(name) == addresses(*expected)
        assert await names.resolve(name, socket.AF_INET) == addresses("127.0.0.1")
        assert server.asked == []


async def test_the_program_has_its_own_resolver(machine: Machine) -> None:
    table = TableResolver({"www.example": ["192.0.2.7"]})
    table.use()
    async with start_name_server(ZONE) as server:
        names = machine.resolver(server, call=resolve)
        assert await names.resolve("www.example") == addresses("192.0.2.7")
        assert server.asked == []
    assert table.asked == ["www.example"]


async def test_files_that_change_are_read_again(machine: Machine) -> None:
    async with start_name_server(ZONE) as server:
        names = machine.resolver(server)
        assert await names.resolve("www.example", socket.AF_INET6) == addresses("2001:db8::1")
        machine.write("hosts", "192.0.2.8 www.example new\n")
        assert await names.resolve("www.example", socket.AF_INET6) == addresses("2001:db8::1")
        names._look_again -= LOOK_AGAIN_AFTER
        assert await names.resolve("new") == addresses("192.0.2.8")


async def test_hanging_names_hold_up_their_user_alone(machine: Machine) -> None:
    """No thread is started, and a lookup that was given up holds nothing."""
    threads = threading.active_count()
    descriptors = open_descriptors()
    async with start_name_server(ZONE) as server:
        server.silent_names = frozenset(HANGING)
        names = machine.resolver(server)
        # The first query opens what stays open.
        await names.resolve("printer")
        async with trio.open_nursery() as nursery:
            for name in HANGING:
                nursery.start_soon(lambda name=name: names.resolve(name, owner=ANN))
            await trio.sleep(0.2)
            started = trio.current_time()
            assert await names.resolve("www.example", owner=BOB) == addresses(
                "192.0.2.1", "2001:db8::1"
            )
            assert await names.resolve("localhost", owner=ANN) == addresses("127.0.0.1", "::1")
            assert trio.current_time() - started < 1.0
            assert len({name for name, _, _ in server.asked if "hanging" in name}) == TURNS_OF_ONE
            assert threading.active_count() == threads
            nursery.cancel_scope.cancel()
        assert not names._turns._taken
        assert not names._servers._pending
    assert open_descriptors() == descriptors


async def test_hanging_threads_hold_up_their_user_alone(machine: Machine) -> None:
    """Where the machine has to be asked, a thread counts until it ends."""
    machine.write("services", "hosts: files ldap dns\n")
    released = threading.Event()
    asked: list[str] = []

    def getaddrinfo(name: str) -> list[IPAddress]:
        asked.append(name)
        if name.startswith("hanging"):
            released.wait(8)
        return [ipaddress.ip_address("192.0.2.1")]

    async def call(
        name: str, _family: object, *, limiter: trio.CapacityLimiter | None = None
    ) -> list[IPAddress]:
        return await trio.to_thread.run_sync(
            getaddrinfo, name, abandon_on_cancel=True, limiter=limiter
        )

    async with start_name_server() as server:
        names = machine.resolver(server, call=call)
        try:
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for name in HANGING:
                        nursery.start_soon(lambda name=name: names.resolve(name, owner=ANN))
                    await trio.sleep(0.1)
                    assert await names.resolve("www.example", owner=BOB) == addresses("192.0.2.1")
                    nursery.cancel_scope.cancel()
            # Those who gave up have left their threads behind, but no more than their share.
            assert len([name for name in asked if name in HANGING]) == THREADS_OF_ONE
            assert server.asked == []
        finally:
            released.set()
        # His share is his again.
        assert await names.resolve("last", owner=ANN) == addresses("192.0.2.1")
