"""An outbound in front of another: it puts many connections on few of the other one's."""

import logging
from typing import Final, NoReturn, Protocol

import attrs
import trio

from trio_vmess.contracts import Connected, PacketLink, StreamSide
from trio_vmess.core import Destination, Entropy, Flow
from trio_vmess.core.mux import New, encode_frame
from trio_vmess.errors import DialError, DialFailure, LocalProtocolError
from trio_vmess.outbound.mux.carrier import ClientCarrier
from trio_vmess.transport import SideTransport
from trio_vmess.transport.mux import TURN_SIZE

log: Final = logging.getLogger("trio_vmess.outbound.mux")

_NAME_SIZE: Final = 4


@attrs.define(eq=False)
class _Dial:
    """A carrier that is on its way, for as many as it will carry.

    Attributes:
        waiting: how many wait for it.
        done: it has come, or never will.
        failure: why it will not; None if it has come.
    """

    waiting: int = 0
    done: trio.Event = attrs.Factory(trio.Event)
    failure: DialError | None = None


class CarrierSource(Protocol):
    """What carriers are opened with: `VMessOutbound`."""

    @property
    def tag(self) -> str:
        """See `Outbound.tag`."""
        ...

    async def connect_carrier(self) -> StreamSide:
        """Open a connection for frames; raise `DialError` if that cannot be done."""
        ...

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        ...


class MuxOutbound:
    """Puts the streams of flows on carriers: an `Outbound`, and a `Service` that runs them.

    Args:
        vmess: opens the connections that become carriers, and carries datagrams itself.
        concurrency: streams that a carrier carries at a time.
        entropy: source of the carriers' names in the log.
        buffer: the read buffer; shared by all connections.
    """

    def __init__(
        self, vmess: CarrierSource, *, concurrency: int, entropy: Entropy, buffer: memoryview
    ) -> None:
        self._vmess = vmess
        self._concurrency = concurrency
        self._entropy = entropy
        self._buffer = buffer
        self._carriers: list[ClientCarrier] = []
        self._dials: list[_Dial] = []
        self._nursery: trio.Nursery | None = None

    @property
    def tag(self) -> str:
        """See `Outbound.tag`."""
        return self._vmess.tag

    @property
    def carrier_count(self) -> int:
        """How many carriers there are."""
        return len(self._carriers)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run the carriers until cancelled; see `Service.run`."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def connect(self, flow: Flow, /) -> Connected[StreamSide]:
        """See `Outbound.connect`; it does not wait for the server's answer.

        Raises:
            DialError: the server cannot be reached, or the frames cannot name the destination.
            RuntimeError: the service does not run.
        """
        _check_name(flow.destination)
        carrier = await self._find_carrier()
        stream = carrier.add(flow.destination)
        return Connected(self.tag, StreamSide(transport=stream, turn_size=TURN_SIZE))

    async def connect_packets(self, flow: Flow, /) -> Connected[PacketLink]:
        """See `Outbound.connect_packets`."""
        return await self._vmess.connect_packets(flow)

    async def _find_carrier(self) -> ClientCarrier:
        """Return a carrier with room; wait for one that is on its way, or dial one."""
        while True:
            for carrier in self._carriers:
                if carrier.can_open:
                    return carrier
            dial = self._find_dial()
            dial.waiting += 1
            try:
                await dial.done.wait()
            finally:
                dial.waiting -= 1
            if dial.failure is not None:
                raise DialError(str(dial.failure), reason=dial.failure.reason)

    def _find_dial(self) -> _Dial:
        for dial in self._dials:
            if dial.waiting < self._concurrency:
                return dial
        if self._nursery is None:
            raise RuntimeError(f"the carriers of outbound {self.tag!r} do not run")
        dial = _Dial()
        self._dials.append(dial)
        self._nursery.start_soon(self._open_and_run, dial, name="mux carrier")
        return dial

    async def _open_and_run(self, dial: _Dial) -> None:
        try:
            carrier, name = await self._open_carrier()
        except DialError as exc:
            dial.failure = exc
            return
        except Exception:
            log.exception("mux.bug outbound=%s", self.tag or "-")
            dial.failure = DialError("a bug; see the log", reason=DialFailure.PARENT_PROXY)
            return
        finally:
            self._dials.remove(dial)
            dial.done.set()
        try:
            log.debug("mux.closed %s reason=%r", name, await carrier.run())
        except Exception:
            log.exception("mux.bug %s", name)
        finally:
            self._carriers.remove(carrier)

    async def _open_carrier(self) -> tuple[ClientCarrier, str]:
        side = await self._vmess.connect_carrier()
        name = f"outbound={self.tag or '-'} carrier={self._entropy.token_bytes(_NAME_SIZE).hex()}"
        carrier = ClientCarrier(
            SideTransport(side), name=name, concurrency=self._concurrency, buffer=self._buffer
        )
        log.debug("mux.opened %s", name)
        self._carriers.append(carrier)
        return carrier, name


def _check_name(destination: Destination) -> None:
    try:
        encode_frame(New(0, destination))
    except LocalProtocolError as exc:
        raise DialError(f"{destination}: {exc}", reason=DialFailure.UNSUPPORTED) from None
