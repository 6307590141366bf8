"""Builds a resolver from the settings of a `dns` object, and routes its queries.

Queries over UDP and TCP are flows like any other: routing rules see the tag of the `dns` object as
their inbound. With `+local` in a server's URL they bypass routing, as in V2Ray; queries over HTTPS
always do.
"""

import functools
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

import attrs

from trio_vmess import outbound, routing
from trio_vmess.config import Config, DnsServerSettings, DnsSettings
from trio_vmess.contracts import Outbound, PacketLink, Resolve, ResolveFor, Transport
from trio_vmess.core import Destination, Flow, IPAddress, parse_host
from trio_vmess.dns import (
    DatagramServer,
    DnsDialer,
    FixedHosts,
    HttpsServer,
    NameServer,
    Resolver,
    Source,
    StreamServer,
    SystemResolve,
    SystemResolver,
    SystemServer,
    has_https,
)
from trio_vmess.errors import ConfigError, ConfigProblem, DialError, DialFailure, NoRouteError
from trio_vmess.transport import SideTransport, by_preference, resolve

if TYPE_CHECKING:
    from trio_vmess.routing import GeoFiles, Load

_LOCAL: Final = "+local"
_SYSTEM: Final = "localhost"
_PORT: Final = 53


class FlowDialer:
    """Connects to name servers through the node's outbounds: a `DnsDialer`.

    Args:
        choose: chooses the outbound of a flow.
        tag: the inbound tag of these flows, for rules.
    """

    def __init__(self, choose: Callable[[Flow], Awaitable[Outbound]], *, tag: str = "") -> None:
        self._choose = choose
        self._tag = tag

    async def packets(self, destination: Destination, /) -> PacketLink:
        """See `DnsDialer.packets`."""
        flow = self._flow(destination)
        return (await (await self._outbound(flow)).connect_packets(flow)).remote

    async def stream(self, destination: Destination, /) -> Transport:
        """See `DnsDialer.stream`."""
        flow = self._flow(destination)
        return SideTransport((await (await self._outbound(flow)).connect(flow)).remote)

    def _flow(self, destination: Destination) -> Flow:
        return Flow(destination=destination, inbound_tag=self._tag)

    async def _outbound(self, flow: Flow) -> Outbound:
        try:
            return await self._choose(flow)
        except NoRouteError as exc:
            raise DialError(str(exc), reason=DialFailure.FORBIDDEN) from None


def make_system_resolver() -> SystemResolver:
    """Build what finds addresses as the machine does; its queries go straight out."""
    return SystemResolver(call=resolve, dialer=FlowDialer(_choose_freedom), prefer=by_preference)


def for_owner(resolver: Resolver | SystemResolver) -> ResolveFor:
    """Let each user of each inbound have an own share of the lookups."""

    def resolve_for(flow: Flow) -> Resolve:
        return functools.partial(resolver.resolve, owner=(flow.inbound_tag, flow.user.id))

    return resolve_for


def make_resolver(
    config: Config, *, dialer: DnsDialer, load: "Load", system: SystemResolve
) -> Resolver | None:
    """Build the resolver that a configuration's `dns` object describes.

    Args:
        config: only its `dns` is used, and its file name in messages.
        dialer: connects to name servers.
        load: loads the data files with the domain and address lists that entries name.
        system: the system's resolver.

    Returns:
        None if the object is empty: then the system resolves names.

    Raises:
        ConfigError: with all problems.
    """
    settings = config.dns
    if not (settings.servers or settings.hosts):
        return None
    builder = _Builder(config.file, settings, dialer, routing.GeoFiles(load), system)
    hosts = builder.hosts()
    sources = builder.sources()
    if builder.problems:
        raise ConfigError(*builder.problems)
    return Resolver(sources, hosts)


async def _choose_freedom(_flow: Flow) -> Outbound:
    return outbound.FreedomOutbound(tag="")


@attrs.define(eq=False)
class _Builder:
    file: str
    settings: DnsSettings
    dialer: DnsDialer
    geo: "GeoFiles"
    system: SystemResolve
    problems: list[ConfigProblem] = attrs.field(factory=lambda: list[ConfigProblem]())

    def hosts(self) -> FixedHosts:
        def match(entries: Sequence[str]) -> Callable[[str], bool]:
            matches = self._match_names(entries, f"dns.hosts.{entries[0]}")
            return matches or (lambda _name: False)

        return FixedHosts(self.settings.hosts, match)

    def sources(self) -> Sequence[Source]:
        sources: list[Source] = []
        for index, each in enumerate(self.settings.servers):
            where = f"dns.servers[{index}]"
            server = self._server(each, where)
            if server is not None:
                sources.append(
                    Source(
                        server=server,
                        is_first_for=self._match_names(each.domains, f"{where}.domains"),
                        expects=self._match_addresses(each.expect_ips, f"{where}.expect_ips"),
                    )
                )
        # With `hosts` alone, all other names still have to be resolved.
        return sources or [Source(server=SystemServer(self.system))]

    def _server(self, settings: DnsServerSettings, where: str) -> NameServer | None:
        address, client_ip = settings.address, self.settings.client_ip
        if address == _SYSTEM:
            return SystemServer(self.system)
        try:
            if "://" not in address:
                host, port = ipaddress.ip_address(address), settings.port
                return DatagramServer(host, port, dialer=self.dialer, client_ip=client_ip)
            return self._server_at(urlsplit(address), client_ip)
        except ValueError as exc:
            self._add_problem(f"{where}.address", str(exc))
            return None

    def _server_at(self, url: SplitResult, client_ip: IPAddress | None) -> NameServer:
        scheme = url.scheme.removesuffix(_LOCAL)
        if scheme == "https":
            if not url.hostname:
                raise ValueError(f"{url.geturl()} has no host: expected https://HOST/PATH")
            if not has_https():
                raise ValueError(
                    "name servers over HTTPS need an HTTP client: pip install 'trio-vmess[doh]', "
                    "or use a name server by its IP address"
                )
            plain = url._replace(scheme=scheme).geturl()
            return HttpsServer(plain, resolve=self.system, client_ip=client_ip)
        if scheme not in ("tcp", "udp"):
            raise ValueError(
                f"name servers over {scheme} are not supported; expected an IP address, localhost, "
                "or a URL with https, tcp or udp"
            )
        host, port = parse_host(url.hostname or ""), url.port or _PORT
        if isinstance(host, str):
            raise ValueError(
                f"{url.geturl()} names its server by a domain, which nothing can resolve yet; "
                "use its IP address"
            )
        dialer = self.dialer
        if url.scheme.endswith(_LOCAL):
            dialer = FlowDialer(_choose_freedom)
        if scheme == "udp":
            return DatagramServer(host, port, dialer=dialer, client_ip=client_ip)
        return StreamServer(host, port, dialer=dialer, client_ip=client_ip)

    def _match_names(self, entries: Sequence[str], where: str) -> Callable[[str], bool] | None:
        try:
            return routing.DomainMatcher(entries, self.geo).matches if entries else None
        except ValueError as exc:
            self._add_problem(where, str(exc))
            return None

    def _match_addresses(
        self, entries: Sequence[str], where: str
    ) -> Callable[[IPAddress], bool] | None:
        try:
            return routing.AddressMatcher(entries, self.geo).matches if entries else None
        except ValueError as exc:
            self._add_problem(where, str(exc))
            return None

    def _add_problem(self, where: str, message: str) -> None:
        self.problems.append(ConfigProblem(where=where, message=message, file=self.file))
