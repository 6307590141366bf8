"""The carriers of one kind to the servers of an outbound."""

import logging
from typing import Final, Protocol

import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core import Entropy
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound.mux.carrier import ClientCarrier
from trio_vmess.outbound.pending_dial import PendingDial
from trio_vmess.transport import SideTransport

log: Final = logging.getLogger("trio_vmess.outbound.mux")

_NAME_SIZE: Final = 4


class CarrierSource(Protocol):
    """What carriers are opened with: `VMessOutbound`."""

    @property
    def tag(self) -> str:
        """See `Outbound.tag`."""
        ...

    async def connect_carrier(self) -> StreamSide:
        """Open a connection for frames; raise `DialError` if that cannot be done."""
        ...


class CarrierPool:
    """Finds carriers with room, and dials as few as those who wait at once need.

    Args:
        source: opens the connections that become carriers.
        concurrency: sub-connections that a carrier carries at a time.
        is_xudp: each carrier carries the datagrams of one association and nothing else.
        entropy: source of the carriers' names in the log.
        buffer: the read buffer; shared by all connections.
    """

    def __init__(
        self,
        source: CarrierSource,
        *,
        concurrency: int,
        is_xudp: bool = False,
        entropy: Entropy,
        buffer: memoryview,
    ) -> None:
        self._source = source
        self._concurrency = concurrency
        self._is_xudp = is_xudp
        self._entropy = entropy
        self._buffer = buffer
        self._carriers: list[ClientCarrier] = []
        self._dials: list[PendingDial] = []

    def __len__(self) -> int:
        return len(self._carriers)

    async def find(self, nursery: trio.Nursery) -> ClientCarrier:
        """Return a carrier with room; wait for one that is on its way, or dial one.

        Args:
            nursery: runs new carriers.

        Raises:
            DialError: no server can be reached.
        """
        while True:
            for carrier in self._carriers:
                if carrier.can_open:
                    return carrier
            # When everything is cancelled at once, the nursery takes no more tasks.
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._find_dial(nursery).wait()

    def _find_dial(self, nursery: trio.Nursery) -> PendingDial:
        for dial in self._dials:
            if dial.waiting_count < self._concurrency:
                return dial
        dial = PendingDial()
        nursery.start_soon(self._open_and_run, dial, name="mux carrier")
        self._dials.append(dial)
        return dial

    async def _open_and_run(self, dial: PendingDial) -> None:
        tag = self._source.tag or "-"
        try:
            carrier, name = await self._open()
        except DialError as exc:
            dial.fail(exc)
            return
        except Exception:
            log.exception("mux.bug tag=%s", tag)
            dial.fail(DialError("a bug; see the log", reason=DialFailure.PARENT_PROXY))
            return
        finally:
            self._dials.remove(dial)
            dial.end()
        try:
            reason = await carrier.run()
            log.debug("mux.closed tag=%s carrier=%s reason=%r", tag, name, reason)
        except Exception:
            log.exception("mux.bug tag=%s carrier=%s", tag, name)
        finally:
            self._carriers.remove(carrier)

    async def _open(self) -> tuple[ClientCarrier, str]:
        side = await self._source.connect_carrier()
        name = self._entropy.token_bytes(_NAME_SIZE).hex()
        carrier = ClientCarrier(
            SideTransport(side),
            tag=self._source.tag,
            name=name,
            concurrency=self._concurrency,
            buffer=self._buffer,
            is_xudp=self._is_xudp,
        )
        log.debug("mux.opened tag=%s carrier=%s", self._source.tag or "-", name)
        self._carriers.append(carrier)
        return carrier, name
