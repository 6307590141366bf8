"""The carriers of one kind to the servers of an outbound."""

import logging
from typing import Final, Protocol

import attrs
import trio

from trio_vmess.contracts import StreamSide
from trio_vmess.core import Entropy
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.outbound.mux.carrier import ClientCarrier
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
        self._dials: list[_Dial] = []

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
            dial = self._find_dial(nursery)
            dial.waiting += 1
            try:
                await dial.done.wait()
            finally:
                dial.waiting -= 1
            if dial.failure is not None:
                raise DialError(str(dial.failure), reason=dial.failure.reason)

    def _find_dial(self, nursery: trio.Nursery) -> _Dial:
        for dial in self._dials:
            if dial.waiting < self._concurrency:
                return dial
        dial = _Dial()
        self._dials.append(dial)
        nursery.start_soon(self._open_and_run, dial, name="mux carrier")
        return dial

    async def _open_and_run(self, dial: _Dial) -> None:
        tag = self._source.tag or "-"
        try:
            carrier, name = await self._open()
        except DialError as exc:
            dial.failure = exc
            return
        except Exception:
            log.exception("mux.bug tag=%s", tag)
            dial.failure = DialError("a bug; see the log", reason=DialFailure.PARENT_PROXY)
            return
        finally:
            self._dials.remove(dial)
            dial.done.set()
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
