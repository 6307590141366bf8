"""What a request for a byte stream looks like, and its response: `http` and `grpc`.

Source:
    v2ray-core v4.34.0, transport/internet/http, dialer.go and hub.go; Xray-core,
    transport/internet/grpc, config.go and dial.go; sing-box, transport/v2raygrpclite.
"""

from typing import Final, Protocol
from urllib.parse import quote

import attrs

from trio_vmess.core.carriage.http2.headers import Fields, Request, Response
from trio_vmess.core.destination import Host, format_endpoint
from trio_vmess.core.entropy import Entropy

_FIELDS: Final = (
    (b"accept-encoding", b"identity"),
    (b"user-agent", b"Go-http-client/2.0"),
)


class Tunnel(Protocol):
    """How both ends of a stream introduce themselves, and how a server ends it."""

    def request(self, host: Host, port: int, entropy: Entropy, /) -> Request:
        """Return what a client sends.

        Args:
            host: what is dialled.
            port: its port.
            entropy: makes choices that the configuration leaves open.
        """
        ...

    def why_not(self, request: Request, /) -> str | None:
        """Return why a server does not take a request for one of these, or None if it does."""
        ...

    def response(self, date: str, /) -> Response:
        """Return what a server answers.

        Args:
            date: as HTTP writes it.
        """
        ...

    @property
    def trailers(self) -> Fields:
        """What a server ends its direction with; empty for no trailers."""
        ...

    def why_refused(self, response: Response, /) -> str | None:
        """Return why a client cannot use a response, or None if it can."""
        ...

    def why_failed(self, trailers: Fields, /) -> str | None:
        """Return what trailers say about a stream that did not end well, or None."""
        ...


@attrs.frozen(kw_only=True)
class HttpTunnel:
    """The transport `http`: both bodies are the stream.

    Attributes:
        hosts: names that a client asks for, one at random, and a server accepts, ports included.
            None at all: the address that is dialled, and any.
        path: what a client asks for, and with what the paths that a server accepts begin.
        method: what a client uses; a server accepts any.
        fields: what a client adds; they replace its own of the same name. Names in lower case.
    """

    hosts: tuple[str, ...] = ()
    path: str = "/"
    method: str = "PUT"
    fields: Fields = ()

    def request(self, host: Host, port: int, entropy: Entropy) -> Request:
        """See `Tunnel.request`."""
        hosts = self.hosts or (format_endpoint(host, port),)
        return Request(
            method=self.method,
            scheme="https",
            authority=hosts[entropy.randbelow(len(hosts))],
            path=self.path,
            fields=(*(each for each in _FIELDS if each[0] not in dict(self.fields)), *self.fields),
        )

    def why_not(self, request: Request) -> str | None:
        """See `Tunnel.why_not`."""
        if self.hosts and request.authority.lower() not in map(str.lower, self.hosts):
            return (
                f"host {request.authority!r} was asked for, and {', '.join(self.hosts)} is served"
            )
        if not request.path.startswith(self.path):
            return f"path {request.path!r} was asked for, and {self.path!r} is served"
        return None

    def response(self, date: str) -> Response:
        """See `Tunnel.response`."""
        fields = ((b"cache-control", b"no-store"), (b"date", date.encode()))
        return Response(status=200, fields=fields)

    @property
    def trailers(self) -> Fields:
        """See `Tunnel.trailers`: there are none."""
        return ()

    def why_refused(self, response: Response) -> str | None:
        """See `Tunnel.why_refused`."""
        return None if response.status == 200 else f"the server answered {response.status}"

    def why_failed(self, trailers: Fields) -> str | None:
        """See `Tunnel.why_failed`: they say nothing."""
        return None


_GRPC_TYPE: Final = "application/grpc"


@attrs.frozen(kw_only=True)
class GrpcTunnel:
    """The transport `grpc`: a call that never ends by itself, and whose messages are the stream.

    Attributes:
        service: the name of the service: one element of a path, whatever is in it. One that begins
            with a slash is a path itself, whose last element names the call, or with `|` between
            them the calls of one stream of bytes and of several.
        is_multi: whether a client makes the call whose messages may have several parts.
        authority: what a client asks for; empty for the address that is dialled.
        user_agent: what a client calls itself.
    """

    service: str = ""
    is_multi: bool = False
    authority: str = ""
    user_agent: str = "grpc-go/1.48.0"

    @property
    def _paths(self) -> tuple[str, str]:
        """The paths of both calls."""
        if not self.service.startswith("/"):
            name = quote(self.service, safe="")
            return f"/{name}/Tun", f"/{name}/TunMulti"
        folder, _, last = self.service.rpartition("/")
        single, _, multi = last.partition("|")
        folder = "/".join(quote(part, safe="") for part in folder.split("/"))
        single, multi = quote(single, safe=""), quote(multi or single, safe="")
        return f"{folder}/{single}", f"{folder}/{multi}"

    def request(self, host: Host, port: int, entropy: Entropy) -> Request:
        """See `Tunnel.request`."""
        return Request(
            method="POST",
            scheme="https",
            authority=self.authority or format_endpoint(host, port),
            path=self._paths[self.is_multi],
            fields=(
                (b"content-type", _GRPC_TYPE.encode()),
                (b"user-agent", self.user_agent.encode()),
                (b"te", b"trailers"),
            ),
        )

    def why_not(self, request: Request) -> str | None:
        """See `Tunnel.why_not`."""
        if request.path not in self._paths:
            return f"path {request.path!r} was asked for, and {self._paths[0]!r} is served"
        kind = request.find(b"content-type")
        if request.method != "POST" or not kind.startswith(_GRPC_TYPE):
            return f"{request.method} with content type {kind!r} is no call of gRPC"
        return None

    def response(self, date: str) -> Response:
        """See `Tunnel.response`."""
        return Response(status=200, fields=((b"content-type", _GRPC_TYPE.encode()),))

    @property
    def trailers(self) -> Fields:
        """See `Tunnel.trailers`."""
        return ((b"grpc-status", b"0"), (b"grpc-message", b""))

    def why_refused(self, response: Response) -> str | None:
        """See `Tunnel.why_refused`; a server that refuses has only trailers, which come here."""
        if response.status != 200:
            return f"the server answered {response.status}"
        return self.why_failed(response.fields)

    def why_failed(self, trailers: Fields) -> str | None:
        """See `Tunnel.why_failed`."""
        status = dict(trailers).get(b"grpc-status", b"0").decode("latin-1")
        return None if status == "0" else f"the server ended the call with gRPC status {status}"
