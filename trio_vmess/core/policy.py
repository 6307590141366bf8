"""What a user's level allows: four timeouts and a buffer size."""

import attrs


@attrs.frozen(kw_only=True)
class Policy:
    """The limits of one connection.

    Attributes:
        handshake: seconds from accepting a connection until its request is understood.
        connection_idle: seconds without data in either direction.
        uplink_only: the idle limit in seconds once the response has ended.
        downlink_only: the idle limit in seconds once the request has ended.
        buffer_size: bytes that one direction may read ahead; 0 for as few as possible, None for as
            many as the buffer holds.

    Source:
        v2ray-core, features/policy/policy.go, SessionDefault.
    """

    handshake: float = 60.0
    connection_idle: float = 300.0
    uplink_only: float = 1.0
    downlink_only: float = 1.0
    buffer_size: int | None = 512 * 1024
