"""An outbound in front of another: it puts many connections on few of the other one's."""

import functools
from typing import Final, NoReturn

import trio

from trio_vmess.contracts import Connected, Outbound, PacketLink, StreamSide
from trio_vmess.core import Destination, Entropy, Flow
from trio_vmess.core.mux import New, encode_frame
from trio_vmess.errors import DialError, DialFailure, LocalProtocolError
from trio_vmess.outbound.mux.pool import CarrierPool
from trio_vmess.outbound.mux.source_ids import SourceIds
from trio_vmess.outbound.shared_sockets import Open, SharedSockets
from trio_vmess.transport import Background
from trio_vmess.transport.mux import TURN_SIZE

NAME_FAMILY: Final = 4
"""Names go with IPv4.

QUIRK: a session of sing-box's server has one socket, for the family of its first destination.
Source: sing-box's behaviour; tests/interop/test_mux_client.py.
"""

QUIC_PORT: Final = 443


class MuxOutbound:
    """Puts flows on carriers: an `Outbound`, and a `Service` that runs the carriers.

    Args:
        vmess: opens a connection for each flow that is not put on a carrier.
        streams: carriers of streams; None for none.
        datagrams: carriers of datagrams, by XUDP; maybe the same; None for none.
        quic: what is done with datagrams to port 443 while `datagrams` is not None: None carries
            them, True sends them beside the carriers, and False refuses them.
        entropy: makes the ids of sockets unpredictable.
    """

    def __init__(
        self,
        vmess: Outbound,
        *,
        streams: CarrierPool | None,
        datagrams: CarrierPool | None = None,
        quic: bool | None = None,
        entropy: Entropy,
    ) -> None:
        self._vmess = vmess
        self._streams = streams
        self._datagrams = datagrams
        self._quic = quic
        self._sockets = SharedSockets()
        self._source_ids = SourceIds(entropy)
        self._background = Background(
            f"the shared connections of outbound {vmess.tag!r} do not run"
        )

    @property
    def tag(self) -> str:
        """See `Outbound.tag`."""
        return self._vmess.tag

    @property
    def carrier_count(self) -> int:
        """How many carriers there are."""
        pools = {pool for pool in (self._streams, self._datagrams) if pool is not None}
        return sum(map(len, pools))

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run the carriers until cancelled; see `Service.run`."""
        await self._background.run(task_status=task_status)

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`; on a carrier, it does not wait for the server's answer.

        Raises:
            DialError: the server cannot be reached, or the frames cannot name the destination.
            RuntimeError: the service does not run.
        """
        if self._streams is None:
            return await self._vmess.connect(flow)
        _check_name(flow.destination)
        carrier = await self._streams.find(self._background.nursery)
        stream = carrier.add(flow.destination)
        return Connected(self.tag, StreamSide(transport=stream, turn_size=TURN_SIZE))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`; the flows of an association share a session.

        Raises:
            DialError: as for `connect`, or the flow is refused because it is QUIC's.
            RuntimeError: the service does not run.
        """
        carriers = self._datagrams
        if carriers is None:
            return await self._vmess.connect_packets(flow)
        destination = flow.destination
        if destination.port == QUIC_PORT and self._quic is not None:
            if self._quic:
                return await self._vmess.connect_packets(flow)
            raise DialError(
                f"{destination}: QUIC does not go over mux", reason=DialFailure.FORBIDDEN
            )
        _check_name(destination)
        host, peer = destination.host, (str(destination.host), destination.port)
        family = NAME_FAMILY if isinstance(host, str) else host.version

        async def dial() -> Open:
            carrier = await carriers.find(self._background.nursery)
            return functools.partial(carrier.add_socket, self._source_ids.find(flow, family))

        link = await self._sockets.connect(flow.association or _Alone(), family, peer, dial)
        return Connected(self.tag, link)


class _Alone:
    """A flow that has no association: an `Association` of its own."""

    def invite(self, _peer: Destination, /) -> bool:
        """See `Association.invite`: there is nobody to open a flow."""
        return False


def _check_name(destination: Destination) -> None:
    try:
        encode_frame(New(0, destination))
    except LocalProtocolError as exc:
        raise DialError(f"{destination}: {exc}", reason=DialFailure.UNSUPPORTED) from None
