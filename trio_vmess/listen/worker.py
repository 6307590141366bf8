"""A worker: one open port with what is behind it, and how a user is asked over to it.

Another inbound's detour sends its users here, with a `SwitchAccount` in each response. Whom the
port does not know yet, it takes in under a new id.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Protocol

import attrs
import trio

from trio_vmess.contracts import Inbound
from trio_vmess.core import Entropy
from trio_vmess.core.vmess import Account, ReplayCache, SwitchAccount, UserRegistry
from trio_vmess.listen.static import Handler

log: Final = logging.getLogger("trio_vmess.listen")

_USER_ID_SIZE: Final = 16


@attrs.define(eq=False, kw_only=True)
class PortInbound:
    """What is behind a port.

    Attributes:
        inbound: serves the connections.
        handshake: seconds that a client has until its request is understood.
        users: whom it lets in; None where the protocol has no users to ask over.
        replay: what it remembers; None where it remembers nothing.
        default_level: the policy level of users that are taken in.
        default_alter_id_count: how many alter ids they have.
    """

    inbound: Inbound
    handshake: float
    users: UserRegistry | None = None
    replay: ReplayCache | None = None
    default_level: int = 0
    default_alter_id_count: int = 0
    _nameless: Account | None = attrs.field(default=None, init=False)

    def invite(self, email: str, *, entropy: Entropy) -> Account | None:
        """Find the user with this email, or take one in under a random id.

        Args:
            email: in whatever case. All users without one share an account: the first that the
                registry has, or one that is made for them.
            entropy: where the id comes from.

        Returns:
            None if the inbound has no users, or no room for more.

        Source:
            v2ray-core, proxy/vmess/inbound/inbound.go, userByEmail.Get.
        """
        users = self.users
        if users is None:
            return None
        known = users.find_by_email(email) if email else self._find_nameless(users)
        if known is not None:
            return known
        account = Account(
            user_id=entropy.token_bytes(_USER_ID_SIZE),
            alter_id_count=self.default_alter_id_count,
            level=self.default_level,
            email=email.lower(),
        )
        try:
            users.add(account)
        except ValueError as exc:
            log.warning(
                "detour.full reason=%r hint=%r", str(exc), "lower the alterId of the default user"
            )
            return None
        if not email:
            self._nameless = account
        return account

    def _find_nameless(self, users: UserRegistry) -> Account | None:
        if self._nameless is None or self._nameless.user_id not in users:
            self._nameless = next((account for account in users if not account.email), None)
        return self._nameless


class BoundPort(Protocol):
    """A listener, as far as workers need one: `Listener` is one."""

    @property
    def port(self) -> int:
        """The number."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        ...

    def close(self) -> None:
        """Stop listening; does nothing the second time."""
        ...

    async def serve(
        self, handler: Handler, *, connections: trio.Nursery, handshake: float
    ) -> NoReturn:
        """See `Listener.serve`."""
        ...


Bind = Callable[[int], BoundPort]
"""Opens a port; raises `OSError` with a sentence for the operator."""

MakeInbound = Callable[[int], PortInbound]
"""Builds what is to be behind a port."""


@attrs.frozen(eq=False)
class Worker:
    """An open port with what is behind it."""

    listener: BoundPort
    behind: PortInbound

    async def serve(self, connections: trio.Nursery) -> NoReturn:
        """Serve the port until cancelled; its connections run in `connections`."""
        await self.listener.serve(
            self.behind.inbound.serve, connections=connections, handshake=self.behind.handshake
        )


def open_worker(port: int, bind: Bind, make_inbound: MakeInbound) -> Worker:
    """Open a port, and build what is behind it.

    Raises:
        OSError: from `bind`.
    """
    listener = bind(port)
    try:
        return Worker(listener, make_inbound(listener.port))
    except BaseException:
        listener.close()
        raise


def offer(
    workers: Iterable[Worker], email: str, *, minutes: int, entropy: Entropy
) -> SwitchAccount | None:
    """Ask a user over to one of these workers.

    Args:
        workers: each one that is open is equally likely.
        email: the user's; may be empty.
        minutes: for how long the offer holds, 1 to 255.
        entropy: chooses the worker, and makes the id of a new user.

    Returns:
        None if no worker is open on a port, or the chosen one has no users.
    """
    chosen = [worker for worker in workers if worker.listener.is_open and worker.listener.port]
    if not chosen:
        return None
    worker = chosen[entropy.randbelow(len(chosen))]
    account = worker.behind.invite(email, entropy=entropy)
    if account is None:
        return None
    return SwitchAccount(
        port=worker.listener.port,
        user_id=account.user_id,
        alter_id_count=account.alter_id_count,
        level=account.level,
        minutes=minutes,
    )


def registries_of(workers: Iterable[Worker]) -> list[UserRegistry]:
    """Return the registries behind the workers, each one once."""
    found = (worker.behind.users for worker in workers)
    return list(dict.fromkeys(users for users in found if users is not None))


def replays_of(workers: Iterable[Worker]) -> list[ReplayCache]:
    """Return the replay caches behind the workers, each one once."""
    found = {id(worker.behind.replay): worker.behind.replay for worker in workers}
    return [replay for replay in found.values() if replay is not None]
