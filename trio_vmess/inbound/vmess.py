"""The VMess inbound: a server for VMess clients.

A request that is not believed is answered with silence: what comes is read and thrown away until
the handshake deadline, whatever was wrong, and then the connection is closed without a byte having
been sent. Only the log knows why.
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from trio_vmess.contracts import SILENT_ANSWER, Dispatch, StreamSide, Transport
from trio_vmess.core import NEED_DATA, Entropy, Flow, PrefixedCodec
from trio_vmess.core.vmess import (
    AUTH_SIZE,
    MUX_DESTINATION,
    Account,
    ClockSearch,
    Command,
    Dialect,
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
from trio_vmess.transport import BodyPacketLink

log: Final = logging.getLogger("trio_vmess.inbound.vmess")

CLOCK_SEARCH_PAUSE: Final = 10.0
"""Seconds between two searches for a wrong clock: a stranger must not be able to keep us busy."""
CLOCK_SEARCH_SLICE: Final = 2000
"""HMACs between two checkpoints: less than a millisecond."""


class VMessInbound:
    """Serves VMess clients.

    Args:
        dispatch: takes what they ask for.
        tag: the inbound's name.
        users: who may come in.
        replay: what was here before.
        default_user: what users get who are redirected here by another inbound; None for
            level 0 and no alter ids.
        dialect: which VMess is spoken.
        allow_insecure: False refuses the securities none and aes-128-cfb.
        entropy: where padding comes from.
        clock: UTC seconds.
        buffer: where reads go to; shared with everybody else.
        switch_account: is asked with a user's email for another port and account to offer.
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
        switch_account: Callable[[str], SwitchAccount | None] | None = None,
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
        self._switch_account = switch_account
        self._next_search = 0.0

    def assign_account(self, email: str) -> Account | None:
        """Return the account of a client that is redirected here; see `AssignedAccounts`."""
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
        request: Request | None = None
        try:
            with trio.move_on_at(deadline) as limit:
                request = await self._read_request(connection, transport, source)
            if request is not None:
                await self._hand_on(request, connection, transport, source)
            elif limit.cancelled_caught and connection.receiving is Phase.HEADER:
                log.info(
                    "vmess.timeout source=%s reason=%r",
                    source,
                    "no complete request before the handshake deadline",
                )
        except trio.BrokenResourceError:
            log.debug("vmess.reset source=%s", source)
        finally:
            await transport.aclose()

    async def _read_request(
        self, connection: ServerConnection, transport: Transport, source: str
    ) -> Request | None:
        """Read until the request is understood; None if it never will be."""
        first_bytes = b""
        try:
            while True:
                size = await transport.receive_into(self._buffer)
                data = self._buffer[:size]
                if len(first_bytes) < AUTH_SIZE:
                    first_bytes += data[:AUTH_SIZE]
                connection.receive_data(data, now=self._clock())
                event = connection.next_event()
                if isinstance(event, Request):
                    if (
                        event.command is Command.MUX
                        or event.destination.host == MUX_DESTINATION.host
                    ):
                        raise RemoteProtocolError("command: Mux is not served here")
                    return event
                if event is not NEED_DATA:
                    raise RemoteProtocolError(f"{type(event).__name__} before a Request")
        except AuthenticationError as exc:
            log.warning(
                "vmess.refused source=%s reason=%r user=%s detail=%r",
                source,
                exc.reason.value,
                exc.user or "-",
                str(exc),
            )
            if exc.reason is Refusal.UNKNOWN_USER:
                await self._search_clock(first_bytes[:AUTH_SIZE], source)
        except RemoteProtocolError as exc:
            log.warning("vmess.refused source=%s reason=%r", source, str(exc))
        # Silence: to a stranger all refusals look like a server that has nothing to say.
        while await transport.receive_into(self._buffer):
            pass
        return None

    async def _search_clock(self, user_hash: bytes, source: str) -> None:
        """Find out whether a known user called with a wrong clock or alterId, if there is time."""
        now = trio.current_time()
        if len(user_hash) < AUTH_SIZE or now < self._next_search:
            return
        self._next_search = now + CLOCK_SEARCH_PAUSE
        search = ClockSearch(self.users, user_hash, self._clock())
        while not search.step(CLOCK_SEARCH_SLICE):
            await trio.lowlevel.checkpoint()
        if search.found is not None:
            log.warning(
                "vmess.refused.why source=%s reason=%r detail=%r",
                source,
                search.found.reason.value,
                search.found.message,
            )

    async def _hand_on(
        self, request: Request, connection: ServerConnection, transport: Transport, source: str
    ) -> None:
        account = request.account
        switch = None if self._switch_account is None else self._switch_account(account.email)
        # The response header waits for the first data of the answer, as with every implementation.
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
            await self._dispatch.packets(flow, link)
            return
        client = StreamSide(
            transport=transport,
            opener=body.opener,
            sealer=PrefixedCodec(header, body.sealer),
            early=body.trailing,
        )
        await self._dispatch.stream(flow, client, SILENT_ANSWER)
