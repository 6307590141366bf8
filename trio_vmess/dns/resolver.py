"""From a name to its addresses: fixed hosts, the cache, then name servers.

Servers are queried one after the other: first those that the configuration prefers for the name,
then the others, each group in its order. A server that fails, times out, or gives none of the
addresses that are expected of it is followed by the next; one that says that the name has no
address is believed. Tasks that ask the same at the same time share one query.

Source:
    v2ray-core, app/dns/dns.go, sortClients and lookupIPInternal.
"""

import logging
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import attrs
import trio

from trio_vmess.core import IPAddress
from trio_vmess.dns.answers import Answer, AnswerCache, Query
from trio_vmess.dns.hosts import FixedHosts, loopback_addresses, plain_name
from trio_vmess.dns.servers import NameServer
from trio_vmess.dns.turns import Turns
from trio_vmess.errors import DialError, DialFailure

SERVER_TIMEOUT: Final = 4.0
"""Seconds for one server. Source: v2ray-core, app/dns/nameserver.go."""

FAMILY_DELAY: Final = 0.05
"""Seconds that one family waits for the other. Source: RFC 8305 section 3, "Resolution Delay"."""

ALIAS_MAX: Final = 8
"""How many aliases in a row are followed before it is taken for a loop."""

_BOTH: Final = (socket.AF_INET, socket.AF_INET6)

log: Final = logging.getLogger("trio_vmess.dns")


@attrs.frozen(kw_only=True)
class Source:
    """A name server, and when it is used.

    Attributes:
        server: answers queries.
        is_first_for: tells for which names it comes before the other servers; None for no name.
        expects: tells which addresses it is believed; None for all.
    """

    server: NameServer
    is_first_for: Callable[[str], bool] | None = None
    expects: Callable[[IPAddress], bool] | None = None


@attrs.define(eq=False)
class _Pending:
    """A query in flight. If it is done and has no outcome, the task that sent it was cancelled."""

    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: Answer | tuple[str, DialFailure] | None = None


class Resolver:
    """Finds the addresses of names.

    Args:
        sources: the name servers, in the order in which they are queried.
        hosts: names that need no query.
        cache: of answers; None for a new one.
        server_timeout: seconds for one server.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        hosts: FixedHosts,
        *,
        cache: AnswerCache | None = None,
        server_timeout: float = SERVER_TIMEOUT,
    ) -> None:
        self._sources = sources
        self._hosts = hosts
        self._cache = AnswerCache() if cache is None else cache
        self._server_timeout = server_timeout
        self._turns = Turns()
        self._pending: dict[Query, _Pending] = {}

    async def resolve(
        self,
        name: str,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        *,
        owner: Hashable = None,
    ) -> list[IPAddress]:
        """Return the addresses of a name, those of IPv4 first.

        Args:
            name: a domain name.
            family: `AF_INET` or `AF_INET6` for these alone.
            owner: who asks: lookups of one do not hold up another's.

        Raises:
            DialError: it has none, or no server could tell.
        """
        async with self._turns.turn(owner):
            answers = await self.look_up(name, family)
        addresses = [address for answer in answers for address in answer.addresses]
        if not addresses:
            raise DialError(f"{name} has no address", reason=DialFailure.NAME_NOT_FOUND)
        return addresses

    async def look_up(
        self, name: str, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> Sequence[Answer]:
        """Return an answer for each family, IPv4 first; one that has no address is an answer, too.

        Raises:
            DialError: no server could tell.
        """
        fixed, plain = self._follow_hosts(plain_name(name))
        families = _BOTH if family == socket.AF_UNSPEC else (family,)
        fixed = fixed if fixed is not None else loopback_addresses(plain) or None
        if fixed is not None:
            versions = {4 if each == socket.AF_INET else 6 for each in families}
            found = tuple(address for address in fixed if address.version in versions)
            return [Answer(addresses=found, origin="hosts")]
        now = trio.current_time()
        known = [self._cache.find(Query(plain, family), now) for family in families]
        if all(known):
            return [answer for answer in known if answer is not None]
        if len(families) == 1:
            return [await self._ask(Query(plain, families[0]))]
        return await self._ask_both(plain)

    def _follow_hosts(self, name: str) -> tuple[Sequence[IPAddress] | None, str]:
        """Return a name's fixed addresses, or None and the name that has to be looked up."""
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
            f"{name}: the aliases in hosts form a loop", reason=DialFailure.NAME_NOT_FOUND
        )

    async def _ask_both(self, name: str) -> Sequence[Answer]:
        answers: dict[socket.AddressFamily, Answer] = {}
        failures: list[tuple[str, DialFailure]] = []

        async def ask(family: socket.AddressFamily, nursery: trio.Nursery) -> None:
            try:
                answers[family] = answer = await self._ask(Query(name, family))
            except DialError as exc:
                failures.append((str(exc), exc.reason))
                return
            if answer.addresses:
                # With an address in hand, the other family gets a moment and no more.
                nursery.cancel_scope.deadline = trio.current_time() + FAMILY_DELAY

        async with trio.open_nursery() as nursery:
            for family in _BOTH:
                nursery.start_soon(ask, family, nursery, name=f"dns {family.name} {name}")
        if not answers:
            text, reason = failures[0]
            raise DialError(text, reason=reason)
        return [answers[family] for family in _BOTH if family in answers]

    async def _ask(self, query: Query) -> Answer:
        """Take the answer from the cache, from a query in flight, or from a server."""
        while True:
            known = self._cache.find(query, trio.current_time())
            if known is not None:
                return known
            pending = self._pending.get(query)
            if pending is None:
                return await self._query_servers(query)
            await pending.done.wait()
            if isinstance(pending.outcome, tuple):
                text, reason = pending.outcome
                raise DialError(text, reason=reason)
            if pending.outcome is not None:
                return pending.outcome
            # The task that sent the query was cancelled: one of those that waited sends another.

    async def _query_servers(self, query: Query) -> Answer:
        pending = self._pending[query] = _Pending()
        try:
            answer = pending.outcome = await self._ask_in_turn(query)
            self._cache.store(query, answer, trio.current_time())
            return answer
        except DialError as exc:
            pending.outcome = str(exc), exc.reason
            raise
        finally:
            del self._pending[query]
            pending.done.set()

    async def _ask_in_turn(self, query: Query) -> Answer:
        failures: list[str] = []
        for source in self._order(query.name):
            try:
                with trio.fail_after(self._server_timeout):
                    answer = await source.server.ask(query)
            except (DialError, trio.TooSlowError) as exc:
                reason = str(exc) or f"no answer within {self._server_timeout:g} s"
                failure = exc.reason if isinstance(exc, DialError) else DialFailure.TIMED_OUT
                log.info(
                    "dns.server_failed server=%s reason=%r name=%a detail=%a",
                    source.server,
                    failure.value,
                    query.name,
                    reason,
                )
                failures.append(f"{source.server}: {reason}")
                continue
            if answer.addresses and source.expects is not None:
                expected = tuple(filter(source.expects, answer.addresses))
                if not expected:
                    failures.append(f"{source.server}: none of its addresses is an expected one")
                    continue
                answer = attrs.evolve(answer, addresses=expected)
            return attrs.evolve(answer, origin=str(source.server))
        raise DialError(
            f"{query.name}: {'; '.join(failures) or 'no name server is configured'}",
            reason=DialFailure.NAME_NOT_FOUND,
        )

    def _order(self, name: str) -> Sequence[Source]:
        """Return the sources for a name: those that prefer it, then the others."""

        def is_first(source: Source) -> bool:
            return source.is_first_for is not None and source.is_first_for(name)

        return sorted(self._sources, key=lambda source: not is_first(source))
