"""From a name to addresses: fixed hosts, the cache, and one query for all who ask the same.

Servers are asked one after the other: first those that the configuration names for such names,
then the others, all in its order. A server that fails, keeps silent, or answers with addresses
that are not expected of it makes room for the next; one that says "there is none" is believed.

Source:
    v2ray-core, app/dns/dns.go, sortClients and lookupIPInternal.
"""

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.core import IPAddress
from trio_vmess.dns.answers import Answer, AnswerCache, Query
from trio_vmess.dns.hosts import FixedHosts, plain_name
from trio_vmess.dns.servers import NameServer
from trio_vmess.errors import DialError, DialFailure

SERVER_TIMEOUT: Final = 4.0
"""Seconds for one server. Source: v2ray-core, app/dns/nameserver.go."""

FAMILY_DELAY: Final = 0.05
"""Seconds that one family waits for the other. Source: RFC 8305 section 3, "Resolution Delay"."""

ALIAS_MAX: Final = 8
"""Fixed hosts that stand for each other, one behind the other."""

_BOTH: Final = (socket.AF_INET, socket.AF_INET6)

log: Final = logging.getLogger("trio_vmess.dns")


@attrs.frozen(kw_only=True)
class Source:
    """A name server, and what it is good for.

    Attributes:
        server: answers.
        is_first_for: names that it is asked before all others; None for none.
        expects: the addresses that count; None for all.
    """

    server: NameServer
    is_first_for: Callable[[str], bool] | None = None
    expects: Callable[[IPAddress], bool] | None = None


@attrs.define(eq=False)
class _Pending:
    """A query that is under way; without an outcome in the end, it was cancelled."""

    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: Answer | DialError | None = None


class Resolver:
    """Finds the addresses of names.

    Args:
        sources: asked in their order.
        hosts: need not be asked for.
        cache: remembers answers.
    """

    def __init__(
        self, sources: Sequence[Source], hosts: FixedHosts, *, cache: AnswerCache | None = None
    ) -> None:
        self._sources = sources
        self._hosts = hosts
        self._cache = AnswerCache() if cache is None else cache
        self._pending: dict[Query, _Pending] = {}

    async def resolve(
        self, name: str, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[IPAddress]:
        """Return the addresses of a name, those of IPv4 first.

        Args:
            name: a domain name.
            family: `AF_INET` or `AF_INET6` for these alone.

        Raises:
            DialError: there are none, or nobody could be asked.
        """
        answers = await self.look_up(name, family)
        addresses = [address for answer in answers for address in answer.addresses]
        if not addresses:
            raise DialError(f"{name}: it has no address", reason=DialFailure.NAME_NOT_FOUND)
        return addresses

    async def look_up(
        self, name: str, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> Sequence[Answer]:
        """Return what is known about a name: an answer for each family, those of IPv4 first.

        Raises:
            DialError: nobody could be asked.
        """
        fixed, plain = self._follow_hosts(plain_name(name))
        families = _BOTH if family == socket.AF_UNSPEC else (family,)
        if fixed is not None:
            versions = {4 if each == socket.AF_INET else 6 for each in families}
            found = tuple(address for address in fixed if address.version in versions)
            return [Answer(addresses=found, origin="hosts")]
        if len(families) == 1:
            return [await self._ask(Query(plain, families[0]))]
        return await self._ask_both(plain)

    def _follow_hosts(self, name: str) -> tuple[Sequence[IPAddress] | None, str]:
        """Return what is fixed for a name, or None and the name that stands for it."""
        for _ in range(ALIAS_MAX):
            hosts = self._hosts.find(name)
            if hosts is None:
                return None, name
            addresses = [host for host in hosts if not isinstance(host, str)]
            if addresses or not hosts:
                return addresses, name
            alias = plain_name(str(hosts[0]))
            if alias == name:
                return None, name
            name = alias
        raise DialError(
            f"{name}: the fixed hosts lead in a circle", reason=DialFailure.NAME_NOT_FOUND
        )

    async def _ask_both(self, name: str) -> Sequence[Answer]:
        answers: dict[socket.AddressFamily, Answer] = {}
        failures: list[DialError] = []

        async def ask(family: socket.AddressFamily, nursery: trio.Nursery) -> None:
            try:
                answers[family] = answer = await self._ask(Query(name, family))
            except DialError as exc:
                failures.append(exc)
                return
            if answer.addresses:
                # The other family may not hold up what can be reached already.
                nursery.cancel_scope.deadline = trio.current_time() + FAMILY_DELAY

        async with trio.open_nursery() as nursery:
            for family in _BOTH:
                nursery.start_soon(ask, family, nursery)
        if not answers:
            raise failures[0]
        return [answers[family] for family in _BOTH if family in answers]

    async def _ask(self, query: Query) -> Answer:
        """Take the answer from the cache, from a query that is under way, or from a server."""
        while True:
            known = self._cache.find(query, trio.current_time())
            if known is not None:
                return known
            pending = self._pending.get(query)
            if pending is None:
                return await self._query_servers(query)
            await pending.done.wait()
            if isinstance(pending.outcome, DialError):
                raise DialError(str(pending.outcome), reason=pending.outcome.reason)
            if pending.outcome is not None:
                return pending.outcome
            # Who asked has gone away: somebody else has to.

    async def _query_servers(self, query: Query) -> Answer:
        pending = self._pending[query] = _Pending()
        try:
            answer = pending.outcome = await self._ask_in_turn(query)
            self._cache.store(query, answer, trio.current_time())
            return answer
        except DialError as exc:
            pending.outcome = exc
            raise
        finally:
            del self._pending[query]
            pending.done.set()

    async def _ask_in_turn(self, query: Query) -> Answer:
        failures: list[str] = []
        for source in self._order(query.name):
            try:
                with trio.fail_after(SERVER_TIMEOUT):
                    answer = await source.server.ask(query)
            except (DialError, trio.TooSlowError) as exc:
                failure = f"{source.server}: {str(exc) or 'no answer in time'}"
                log.info("dns.failed name=%a reason=%a", query.name, failure)
                failures.append(failure)
                continue
            if answer.addresses and source.expects is not None:
                expected = tuple(filter(source.expects, answer.addresses))
                if not expected:
                    failures.append(f"{source.server}: not one address is as expected")
                    continue
                answer = attrs.evolve(answer, addresses=expected)
            return attrs.evolve(answer, origin=str(source.server))
        raise DialError(
            f"{query.name}: {'; '.join(failures) or 'there is no server to ask'}",
            reason=DialFailure.NAME_NOT_FOUND,
        )

    def _order(self, name: str) -> Sequence[Source]:
        """Return the sources for a name: those that are for it first."""

        def is_first(source: Source) -> bool:
            return source.is_first_for is not None and source.is_first_for(name)

        return sorted(self._sources, key=lambda source: not is_first(source))
