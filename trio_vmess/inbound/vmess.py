"""The VMess inbound: a server for VMess clients.

A request that is refused is answered with silence, whatever the reason: received bytes are read and
discarded until the handshake deadline, and then the connection is closed without having sent a
byte. So a probe learns nothing; the reason is only in the log.

With a fallback, it is somebody else who answers, to whom all that was received is replayed: to a
probe, this is a port of theirs.
"""

import functools
import logging
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trio_vmess.contracts import SILENT_ANSWER, Dispatch, Fallback, StreamSide, Transport
from trio_vmess.core import (
    NEED_DATA,
    PACKETADDR_HOST,
    Entropy,
    Flow,
    NeedData,
    PrefixedCodec,
)
from trio_vmess.core.vmess import (
    AUTH_SIZE,
    MUX_DESTINATION,
    Account,
    ClockSearch,
    Command,
    Dialect,
    Event,
    PacketBody,
    Phase,
    ReplayCache,
    Request,
    Response,
    ServerConnection,
    SwitchAccount,
    UserRegistry,
)
from trio_vmess.errors import AuthenticationError, Refusal, RemoteProtocolError
from trio_vmess.inbound.assigned_accounts import AssignedAccounts, DefaultUser
from trio_vmess.inbound.mux import Files, GlobalIds, MuxInbound
from trio_vmess.inbound.refused import RefusedConnections, SlowReader
from trio_vmess.transport import BodyPacketLink, RecordedTransport

log: Final = logging.getLogger("trio_vmess.inbound.vmess")

CLOCK_SEARCH_PAUSE: Final = 10.0
"""Seconds between two clock searches: unauthenticated clients must not be able to keep us busy."""
CLOCK_SEARCH_SLICE: Final = 2000
"""HMACs between two checkpoints; they take less than a millisecond."""


@attrs.frozen
class _Refused:
    """A request that was refused.

    Attributes:
        unknown: its first bytes, if they are no user's, for the search for a wrong clock.
        reader: reads the connection at the pace of strangers, if that has begun.
    """

    unknown: bytes = b""
    reader: SlowReader | None = None


class VMessInbound:
    """Serves VMess clients.

    Args:
        dispatch: gets every flow.
        tag: the inbound's name.
        users: the accounts that may connect.
        replay: the requests that were seen before, on any inbound of the node.
        default_user: settings of accounts that are created for clients redirected by another
            inbound; None for level 0 and no alter ids.
        dialect: the VMess variant to serve.
        allow_insecure: False refuses the securities none and aes-128-cfb.
        entropy: source of padding and of new user ids.
        clock: returns UTC seconds.
        buffer: the read buffer; shared by all connections.
        refused: holds the connections that are refused.
        global_ids: of the inbound, whose ports share them.
        files: sub-connections that cannot have one are refused.
        switch_account: called with a user's email; returns another port and account to offer in
            the response, or None.
        fallback: serves those who are refused; None for silence.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        *,
        tag: str,
        users: UserRegistry,
        replay: ReplayCache,
        default_user: DefaultUser | None = None,
        dialect: Dialect,
        allow_insecure: bool,
        entropy: Entropy,
        clock: Callable[[], int],
        buffer: memoryview,
        refused: RefusedConnections,
        global_ids: GlobalIds,
        files: Files,
        switch_account: Callable[[str], SwitchAccount | None] | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self.users = users
        self.replay = replay
        self._assigned = AssignedAccounts(
            users=users, default=default_user or DefaultUser(), entropy=entropy
        )
        self._dispatch = dispatch
        self._tag = tag
        self._dialect = dialect
        self._allow_insecure = allow_insecure
        self._entropy = entropy
        self._clock = clock
        self._buffer = buffer
        self._refused = refused
        self._switch_account = switch_account
        self._fallback = fallback
        self._next_search = 0.0
        self._mux = MuxInbound(
            dispatch, entropy=entropy, buffer=buffer, global_ids=global_ids, files=files
        )

    def assign_account(self, email: str) -> Account | None:
        """Return the account for a redirected client; see `AssignedAccounts.assign`."""
        return self._assigned.assign(email)

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        connection = ServerConnection(
            self.users,
            self.replay,
            entropy=self._entropy,
            dialect=self._dialect,
            source=source.rpartition(":")[0],
            allow_insecure=self._allow_insecure,
        )
        recorded = None if self._fallback is None else RecordedTransport(transport)
        found: Request | _Refused | None = None
        try:
            with trio.move_on_at(deadline) as limit:
                found = await self._read_request(connection, recorded or transport, source)
                if isinstance(found, _Refused) and self._fallback is None:
                    await self._stay_silent(found, transport, source, deadline)
            if isinstance(found, Request):
                await self._dispatch_request(found, connection, transport, source)
                return
            if limit.cancelled_caught and connection.receiving is Phase.HEADER:
                log.info(
                    "vmess.timeout source=%s reason=%r",
                    source,
                    "no complete request before the handshake deadline",
                )
            if self._fallback is not None and recorded is not None:
                await self._fall_back(self._fallback, found or _Refused(), recorded, source)
        except trio.BrokenResourceError:
            log.debug("vmess.reset source=%s", source)
        finally:
            await transport.aclose()

    async def _read_request(
        self, connection: ServerConnection, transport: Transport, source: str
    ) -> Request | _Refused:
        """Read until the request is complete, or refused."""
        first_bytes, size, is_unknown = b"", 0, False
        reader: SlowReader | None = None
        try:
            while True:
                size = await transport.receive_into(self._buffer)
                data = self._buffer[:size]
                if self._fallback is not None and not first_bytes and 0 < size < AUTH_SIZE:
                    # Every client sends more at once, and this may be a whole request of another
                    # protocol: the fallback's answer must not be late.
                    raise AuthenticationError(
                        f"the first packet has {size} bytes", reason=Refusal.TRUNCATED
                    )
                if len(first_bytes) < AUTH_SIZE:
                    first_bytes += data[:AUTH_SIZE]
                connection.receive_data(data, now=self._clock())
                event = connection.next_event()
                if connection.awaits_table:
                    reader = SlowReader(transport)
                    event = await self._wait_for_table(connection, reader)
                    reader.release()
                    reader = None
                if isinstance(event, Request):
                    if (
                        event.command is Command.UDP
                        and event.destination.host == MUX_DESTINATION.host
                    ):
                        raise RemoteProtocolError("command: Mux is a stream, not datagrams")
                    return event
                if event is not NEED_DATA:
                    raise RemoteProtocolError(f"expected a Request, not {type(event).__name__}")
        except AuthenticationError as exc:
            if not (first_bytes or size):
                # Nobody was refused: a health check, or a client's spare connection.
                log.debug("vmess.unused source=%s", source)
                return _Refused()
            log.warning(
                "vmess.refused source=%s reason=%r user=%s detail=%r",
                source,
                exc.reason.value,
                exc.user or "-",
                str(exc),
            )
            is_unknown = exc.reason is Refusal.UNKNOWN_USER
        except RemoteProtocolError as exc:
            log.warning("vmess.refused source=%s reason=%r", source, str(exc))
        return _Refused(unknown=first_bytes[:AUTH_SIZE] if is_unknown else b"", reader=reader)

    async def _stay_silent(
        self, refused: _Refused, transport: Transport, source: str, deadline: float
    ) -> None:
        """Read a refused connection in silence, and find out more for the log."""
        if self._may_search_clock(refused.unknown):
            # Beside the silence: a close must not wait for what the log will say.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._search_clock, refused.unknown, source, name="clock search")
                await self._keep_silent(transport, source, deadline, refused.reader)
        else:
            await self._keep_silent(transport, source, deadline, refused.reader)

    async def _fall_back(
        self, fallback: Fallback, refused: _Refused, recorded: RecordedTransport, source: str
    ) -> None:
        """Let the fallback serve a refused connection, and find out more for the log."""
        if not recorded.has_received:
            return
        if refused.reader is not None:
            refused.reader.release()
        transport = recorded.transport
        async with trio.open_nursery() as nursery:
            if self._may_search_clock(refused.unknown):
                nursery.start_soon(self._search_clock, refused.unknown, source, name="clock search")
            try:
                await fallback.serve(transport, received=recorded.take_received(), source=source)
            finally:
                await transport.aclose()

    async def _wait_for_table(
        self, connection: ServerConnection, reader: SlowReader
    ) -> Event | NeedData:
        """Read on as if the request were refused, until the legacy table tells whether it is.

        Nothing is forgotten meanwhile: the client may be an honest one.
        """
        event: Event | NeedData = NEED_DATA
        while connection.awaits_table:
            with trio.CancelScope() as reading:
                self.users.call_when_grown(reading.cancel)
                try:
                    size = 1
                    while size:
                        size = await reader.receive_into(self._buffer)
                        connection.receive_data(self._buffer[:size], now=self._clock())
                finally:
                    self.users.forget_call(reading.cancel)
            event = connection.retry(now=self._clock())
        return event

    async def _keep_silent(
        self, transport: Transport, source: str, deadline: float, reader: SlowReader | None
    ) -> None:
        """Read in silence until the peer closes the connection, and close it at once."""
        if reader is None and self._refused.take_over(transport, source, deadline):
            return
        try:
            await self._refused.hold(reader or SlowReader(transport), source, self._buffer)
        except trio.BrokenResourceError:
            log.debug("vmess.reset source=%s", source)
        finally:
            await transport.aclose()

    def _may_search_clock(self, first_bytes: bytes) -> bool:
        """Tell whether a clock search is possible and due; the next one has to wait then."""
        now = trio.current_time()
        if len(first_bytes) < AUTH_SIZE or now < self._next_search:
            return False
        self._next_search = now + CLOCK_SEARCH_PAUSE
        return True

    async def _search_clock(self, user_hash: bytes, source: str) -> None:
        """Log whether the request was a known user's with a wrong clock or alterId.

        The search is expensive, so it runs at most once per `CLOCK_SEARCH_PAUSE`.
        """
        search = ClockSearch(self.users, user_hash, self._clock())
        while not search.step(CLOCK_SEARCH_SLICE):
            await trio.lowlevel.checkpoint()
        if search.found is not None:
            log.warning(
                "vmess.refused.explained source=%s reason=%r detail=%r",
                source,
                search.found.reason.value,
                search.found.message,
            )

    async def _dispatch_request(
        self, request: Request, connection: ServerConnection, transport: Transport, source: str
    ) -> None:
        account = request.account
        switch = None if self._switch_account is None else self._switch_account(account.email)
        # The header is sent with the first data of the response, not alone: every other
        # implementation does so.
        header = connection.send(Response(switch_account=switch))
        body = connection.hand_over()
        flow = Flow(
            destination=request.destination,
            source=source,
            inbound_tag=self._tag,
            user=account.user,
            is_remote=True,
        )
        if isinstance(body, PacketBody):
            link = BodyPacketLink(transport, body, prefix=header, buffer=self._buffer)
            if request.destination.host == PACKETADDR_HOST:
                await self._mux.serve_packetaddr(link, flow)
            else:
                await self._dispatch.packets(flow, link)
            return
        client = StreamSide(
            transport=transport,
            opener=body.opener,
            sealer=PrefixedCodec(header, body.sealer),
            early=body.trailing,
        )
        # Some clients name Mux by its destination alone, as V2Ray does inside.
        if request.destination.host == MUX_DESTINATION.host:
            await self._mux.serve(
                client, flow, may_open=functools.partial(self._is_known, account.user_id)
            )
        else:
            await self._dispatch.stream(flow, client, SILENT_ANSWER)

    def _is_known(self, user_id: bytes) -> bool:
        return user_id in self.users
