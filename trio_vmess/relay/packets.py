"""Relays datagrams between two links, with one idle limit for both directions."""

from collections.abc import Sequence

import trio

from trio_vmess.contracts import PacketLink
from trio_vmess.core import Policy
from trio_vmess.errors import RemoteProtocolError
from trio_vmess.relay.close_reason import CloseReason
from trio_vmess.relay.meter import Meter
from trio_vmess.relay.streams import DEADLINE_GRAIN, OnStart


async def relay_packets(
    client: PacketLink,
    remote: PacketLink,
    *,
    policy: Policy,
    meter: Meter,
    on_start: OnStart,
    early: Sequence[bytes] = (),
) -> tuple[CloseReason, str]:
    """Carry datagrams between two links until they end, or both are idle for too long.

    When the client has ended, its last requests may still be answered, as with streams.

    Args:
        client: the client's side.
        remote: the destination's side.
        policy: `connection_idle` is the limit, and `downlink_only` once the client has ended.
        meter: kept up to date while the relay runs.
        on_start: called with the relay's cancel scope before anything is relayed.
        early: datagrams that were received from the client already.

    Returns:
        As `relay_streams`. The caller closes both links.

    Raises:
        trio.Cancelled: from outside.
    """
    relay = _Relay(client, remote, policy, meter)
    return await relay.run(early, on_start)


class _Relay:
    def __init__(
        self, client: PacketLink, remote: PacketLink, policy: Policy, meter: Meter
    ) -> None:
        self._client = client
        self._remote = remote
        self._limit = policy.connection_idle
        self._limit_after_request = policy.downlink_only
        self._on_limit = CloseReason.IDLE
        self._meter = meter
        self._scope: trio.CancelScope
        self._next_move = 0.0
        self._reason: CloseReason | None = None
        self._fault = ""

    async def run(self, early: Sequence[bytes], on_start: OnStart) -> tuple[CloseReason, str]:
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._touch()
            on_start(self._scope)
            nursery.start_soon(self._uplink, early, name="uplink")
            await self._carry(self._remote, self._client, (), uplink=False)
        return self._reason or self._on_limit, self._fault

    async def _uplink(self, early: Sequence[bytes]) -> None:
        await self._carry(self._client, self._remote, early, uplink=True)

    async def _carry(
        self, source: PacketLink, sink: PacketLink, datagrams: Sequence[bytes], *, uplink: bool
    ) -> None:
        """Run one direction to its end."""
        meter, is_sending = self._meter, False
        try:
            while datagrams or (datagrams := await source.receive()):
                size = sum(map(len, datagrams))
                if uplink:
                    meter.uplink += size
                else:
                    meter.downlink += size
                self._touch()
                is_sending = True
                meter.dropped += await sink.send(datagrams)
                is_sending = False
                datagrams = ()
        except RemoteProtocolError as exc:
            self._end(
                CloseReason.CLIENT_PROTOCOL if uplink else CloseReason.REMOTE_PROTOCOL, str(exc)
            )
        except trio.BrokenResourceError:
            # Uplink reads from the client and sends to the remote; downlink the other way round.
            self._end(
                CloseReason.CLIENT_RESET if uplink != is_sending else CloseReason.REMOTE_RESET
            )
        else:
            if uplink:
                self._linger()
            else:
                self._end(CloseReason.FINISHED)

    def _touch(self) -> None:
        """Move the idle deadline, at most once per `DEADLINE_GRAIN`."""
        now = trio.current_time()
        if now >= self._next_move:
            self._next_move = now + DEADLINE_GRAIN
            self._scope.deadline = now + self._limit + DEADLINE_GRAIN

    def _linger(self) -> None:
        """Let answers that are under way still come, until none has come for a moment."""
        self._limit = self._limit_after_request
        self._on_limit = CloseReason.FINISHED
        self._next_move = now = trio.current_time()
        self._scope.deadline = now + self._limit

    def _end(self, reason: CloseReason, fault: str = "") -> None:
        """End both directions; the first reason counts."""
        if self._reason is None:
            self._reason, self._fault = reason, fault
        self._scope.cancel()
