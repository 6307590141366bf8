"""A client and a server joined by function calls: each test checks both ends at once."""

from tests.kit.entropy import SeededEntropy
from trio_vmess.core import NEED_DATA, Destination
from trio_vmess.core.entropy import Entropy
from trio_vmess.core.vmess import (
    V2RAY,
    Account,
    ClientConnection,
    Command,
    Data,
    Dialect,
    Event,
    ReplayCache,
    Request,
    Security,
    ServerConnection,
    UserRegistry,
    parse_user_id,
)

NOW = 1_700_000_000
USER_ID = parse_user_id("b831381d-6324-4d53-ad4f-8cda48b30811")
TARGET = Destination(host="example.com", port=443)


def account(alter_id_count: int = 0, email: str = "love@example.com") -> Account:
    """Return the account that the tests use."""
    return Account(user_id=USER_ID, alter_id_count=alter_id_count, email=email)


def request(
    who: Account,
    *,
    security: Security = Security.AES_128_GCM,
    options: int = 0x0D,
    command: Command = Command.TCP,
    destination: Destination = TARGET,
    timestamp: int = NOW,
) -> Request:
    """Return a request with everyday values."""
    return Request(
        account=who,
        destination=destination,
        command=command,
        security=security,
        options=options,
        timestamp=timestamp,
    )


def events_of(connection: ClientConnection | ServerConnection) -> list[Event]:
    """Return all events that are there, with neighbouring pieces of a stream kept apart."""
    events = []
    while (event := connection.next_event()) is not NEED_DATA:
        events.append(event)
    return events


def payload_of(events: list[Event]) -> bytes:
    """Return the joined payload of all Data events."""
    return b"".join(event.payload for event in events if isinstance(event, Data))


class ConnectionPair:
    """A client connection and a server connection that know the same user.

    Args:
        alter_id_count: above 0, the client speaks legacy.
        dialect: of both.
        seed: of their entropy.
        entropy: the client's, instead of one from the seed.
    """

    def __init__(
        self,
        *,
        alter_id_count: int = 0,
        dialect: Dialect = V2RAY,
        seed: int = 0,
        entropy: Entropy | None = None,
    ) -> None:
        self.account = account(alter_id_count)
        self.users = UserRegistry(
            [self.account], legacy_without_alter_ids=dialect.main_id_authenticates
        )
        self.replay = ReplayCache(window=self.users.window)
        self.dialect = dialect
        self.client = ClientConnection(entropy=entropy or SeededEntropy(seed), dialect=dialect)
        self.server = self.another_server()

    def another_server(self) -> ServerConnection:
        """Return a further connection of the same inbound."""
        return ServerConnection(
            self.users, self.replay, entropy=SeededEntropy(99), dialect=self.dialect
        )

    def up(self, *events: Event, now: int = NOW) -> list[Event]:
        """Send from the client; return what the server understood."""
        for event in events:
            if wire := self.client.send(event):
                self.server.receive_data(wire, now=now)
        return events_of(self.server)

    def down(self, *events: Event) -> list[Event]:
        """Send from the server; return what the client understood."""
        for event in events:
            if wire := self.server.send(event):
                self.client.receive_data(wire)
        return events_of(self.client)
