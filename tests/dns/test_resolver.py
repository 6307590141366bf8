"""Which servers the resolver queries, how often, how long it waits, and what it believes."""

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.kit.name_server import addresses
from trio_vmess.core import Host
from trio_vmess.dns import Answer, AnswerCache, FixedHosts, Query, Resolver, Source
from trio_vmess.dns.resolver import FAMILY_DELAY, SERVER_TIMEOUT
from trio_vmess.errors import DialError, DialFailure

V4, V6 = socket.AF_INET, socket.AF_INET6
NAME = "www.example"


@attrs.define(eq=False)
class Server:
    """Answers from a table after a while, and records the queries."""

    name: str = "server"
    v4: Sequence[str] = ()
    v6: Sequence[str] = ()
    ttl: float = 60
    delay: float = 0.1
    v6_delay: float | None = None
    failure: str = ""
    asked: list[Query] = attrs.field(factory=list)

    def __str__(self) -> str:
        return self.name

    async def ask(self, query: Query, /) -> Answer:
        self.asked.append(query)
        is_v6 = query.family == V6
        await trio.sleep(self.v6_delay if is_v6 and self.v6_delay is not None else self.delay)
        if self.failure:
            raise DialError(self.failure, reason=DialFailure.HOST_UNREACHABLE)
        texts = self.v6 if is_v6 else self.v4
        return Answer(addresses=tuple(addresses(*texts)), ttl=self.ttl)

    @property
    def count(self) -> int:
        return len(self.asked)


def resolver(
    *sources: Server | Source,
    hosts: Mapping[str, Sequence[Host]] | None = None,
    cache: AnswerCache | None = None,
) -> Resolver:
    def match(entries: Sequence[str]) -> Callable[[str], bool]:
        return lambda name: name.endswith(entries[0].partition(":")[2])

    made = [each if isinstance(each, Source) else Source(server=each) for each in sources]
    return Resolver(made, FixedHosts(hosts or {}, match), cache=cache)


# One server ---------------------------------------------------------------------------------------


async def test_both_families_are_queried_at_once(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.1", "192.0.2.2"], v6=["2001:db8::1"])
    found = await resolver(server).resolve("WWW.Example.")
    assert found == addresses("192.0.2.1", "192.0.2.2", "2001:db8::1")
    assert set(server.asked) == {Query(NAME, V4), Query(NAME, V6)}
    assert trio.current_time() == pytest.approx(0.1)


@pytest.mark.parametrize(("family", "found"), [(V4, "192.0.2.1"), (V6, "2001:db8::1")])
async def test_a_single_family_is_queried_alone(
    family: socket.AddressFamily, found: str, autojump_clock: MockClock
) -> None:
    server = Server(v4=["192.0.2.1"], v6=["2001:db8::1"])
    assert await resolver(server).resolve(NAME, family) == addresses(found)
    assert server.asked == [Query(NAME, family)]


async def test_a_slow_family_delays_the_other_for_50_ms_only(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.1"], v6=["2001:db8::1"], v6_delay=3)
    assert await resolver(server).resolve(NAME) == addresses("192.0.2.1")
    assert trio.current_time() == pytest.approx(0.1 + FAMILY_DELAY)


async def test_an_empty_family_waits_for_the_other(
    autojump_clock: MockClock,
) -> None:
    server = Server(v6=["2001:db8::1"], v6_delay=3)
    assert await resolver(server).resolve(NAME) == addresses("2001:db8::1")


async def test_a_name_without_addresses_is_a_dial_error(autojump_clock: MockClock) -> None:
    with pytest.raises(DialError, match=r"www\.example has no address") as caught:
        await resolver(Server()).resolve(NAME)
    assert caught.value.reason is DialFailure.NAME_NOT_FOUND


async def test_without_servers_nothing_is_found(autojump_clock: MockClock) -> None:
    with pytest.raises(DialError, match=r"www\.example: no name server is configured"):
        await resolver().resolve(NAME)


# The cache ----------------------------------------------------------------------------------------


async def test_answers_are_cached_for_their_ttl(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.1"], ttl=60)
    names = resolver(server)
    await names.resolve(NAME, V4)
    await trio.sleep(59)
    await names.resolve(NAME, V4)
    assert server.count == 1
    await trio.sleep(1.1)
    await names.resolve(NAME, V4)
    assert server.count == 2


async def test_failures_are_not_cached(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.1"], failure="broken")
    names = resolver(server)
    with pytest.raises(DialError, match="broken"):
        await names.resolve(NAME, V4)
    server.failure = ""
    assert await names.resolve(NAME, V4) == addresses("192.0.2.1")


async def test_that_a_name_has_no_address_is_cached(autojump_clock: MockClock) -> None:
    server = Server()
    names = resolver(server)
    for _ in range(3):
        with pytest.raises(DialError):
            await names.resolve(NAME, V4)
    assert server.count == 1


# Shared queries -----------------------------------------------------------------------------------


async def test_concurrent_lookups_of_a_name_share_one_query(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.1"], ttl=0)
    names, found = resolver(server), []

    async def ask() -> None:
        found.append(await names.resolve(NAME, V4))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert found == [addresses("192.0.2.1")] * 20
    assert server.count == 1
    await ask()
    assert server.count == 2


async def test_a_failed_query_fails_all_lookups_that_share_it(autojump_clock: MockClock) -> None:
    server = Server(failure="broken")
    names, failures = resolver(server), []

    async def ask() -> None:
        try:
            await names.resolve(NAME, V4)
        except DialError as exc:
            failures.append(exc)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert len(failures) == 5
    assert len(set(map(id, failures))) == 5
    assert server.count == 1


async def test_a_waiting_lookup_resends_a_cancelled_query(
    autojump_clock: MockClock,
) -> None:
    server = Server(v4=["192.0.2.1"], delay=1)
    names, found = resolver(server), []

    async def ask() -> None:
        found.append(await names.resolve(NAME, V4))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as first:
                first.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(3):
                    nursery.start_soon(ask)
                await trio.sleep_forever()
        assert found == []
    assert found == [addresses("192.0.2.1")] * 3
    assert server.count == 2
    assert not names._pending


# Several servers ----------------------------------------------------------------------------------


async def test_the_next_server_is_queried_when_one_fails_or_times_out(
    autojump_clock: MockClock,
) -> None:
    broken, silent = Server(failure="broken"), Server(delay=1000)
    good, last = Server(v4=["192.0.2.1"]), Server(v4=["192.0.2.2"])
    names = resolver(broken, silent, good, last)
    assert await names.resolve(NAME, V4) == addresses("192.0.2.1")
    assert trio.current_time() == pytest.approx(0.1 + SERVER_TIMEOUT + 0.1)
    assert last.count == 0


async def test_the_error_lists_the_failure_of_each_server(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trio_vmess")
    names = resolver(Server(name="one", failure="broken"), Server(name="two", delay=1000))
    with pytest.raises(
        DialError, match=r"www\.example: one: broken; two: no answer within 4 s$"
    ) as caught:
        await names.resolve(NAME, V4)
    assert caught.value.reason is DialFailure.NAME_NOT_FOUND
    assert caplog.messages == [
        f"dns.server_failed server={each} name='www.example' detail={detail!r}"
        for each, detail in (
            ("one reason='host unreachable'", "broken"),
            ("two reason='timed out'", "no answer within 4 s"),
        )
    ]


async def test_a_negative_answer_is_final(
    autojump_clock: MockClock,
) -> None:
    second = Server(v4=["192.0.2.1"])
    with pytest.raises(DialError):
        await resolver(Server(), second).resolve(NAME, V4)
    assert second.count == 0


async def test_servers_that_prefer_a_name_come_first(
    autojump_clock: MockClock,
) -> None:
    general, own = Server(v4=["192.0.2.1"]), Server(v4=["192.0.2.2"])
    names = resolver(
        general, Source(server=own, is_first_for=lambda name: name.endswith(".corp.example"))
    )
    assert await names.resolve("a.corp.example", V4) == addresses("192.0.2.2")
    assert await names.resolve("a.example", V4) == addresses("192.0.2.1")
    own.failure = "broken"
    assert await names.resolve("b.corp.example", V4) == addresses("192.0.2.1")
    assert (general.count, own.count) == (2, 2)


async def test_unexpected_addresses_are_dropped(
    autojump_clock: MockClock,
) -> None:
    liar, good = Server(v4=["192.0.2.1", "10.1.2.3"]), Server(v4=["192.0.2.2"])
    inside = ipaddress.ip_network("10.0.0.0/8")
    names = resolver(Source(server=liar, expects=lambda address: address in inside), good)
    assert await names.resolve(NAME, V4) == addresses("10.1.2.3")
    liar.v4 = ["192.0.2.1"]
    assert await names.resolve("other.example", V4) == addresses("192.0.2.2")


# Fixed hosts --------------------------------------------------------------------------------------


async def test_a_fixed_host_needs_no_query(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.9"])
    names = resolver(server, hosts={NAME: addresses("192.0.2.1", "2001:db8::1")})
    assert await names.resolve("WWW.example") == addresses("192.0.2.1", "2001:db8::1")
    assert await names.resolve(NAME, V6) == addresses("2001:db8::1")
    assert server.count == 0


async def test_localhost_needs_no_query(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.9"])
    names = resolver(server, hosts={"own.localhost": addresses("192.0.2.1")})
    assert await names.resolve("LocalHost.") == addresses("127.0.0.1", "::1")
    assert await names.resolve("a.localhost", V4) == addresses("127.0.0.1")
    assert await names.resolve("own.localhost") == addresses("192.0.2.1")
    assert server.count == 0


async def test_a_fixed_host_without_the_family_needs_no_query(
    autojump_clock: MockClock,
) -> None:
    server = Server(v6=["2001:db8::1"])
    with pytest.raises(DialError, match=r"www\.example has no address"):
        await resolver(server, hosts={NAME: addresses("192.0.2.1")}).resolve(NAME, V6)
    assert server.count == 0


async def test_aliases_are_followed(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.9"])
    names = resolver(
        server,
        hosts={"a.example": ["b.example"], "b.example": ["C.example"], "d.example": ["e.example"]},
    )
    assert await names.resolve("a.example", V4) == addresses("192.0.2.9")
    assert server.asked == [Query("c.example", V4)]


async def test_an_alias_of_itself_is_queried(autojump_clock: MockClock) -> None:
    server = Server(v4=["192.0.2.9"])
    names = resolver(server, hosts={"domain:example": ["www.example"]})
    assert await names.resolve("other.example", V4) == addresses("192.0.2.9")
    assert server.asked == [Query("www.example", V4)]


async def test_aliases_that_form_a_loop_are_an_error(autojump_clock: MockClock) -> None:
    names = resolver(Server(), hosts={"a.example": ["b.example"], "b.example": ["a.example"]})
    with pytest.raises(DialError, match=r"a\.example: the aliases in hosts form a loop"):
        await names.resolve("a.example")


# Origins ------------------------------------------------------------------------------------------


async def test_answers_name_their_origin(autojump_clock: MockClock) -> None:
    broken, good = Server(name="one", failure="broken"), Server(name="two", v4=["192.0.2.1"])
    names = resolver(broken, good, hosts={"fixed.example": addresses("192.0.2.2")})
    assert [each.origin for each in await names.look_up(NAME)] == ["two", "two"]
    assert [each.origin for each in await names.look_up("fixed.example")] == ["hosts"]
