"""What is valid, but open to more people than its owner may think: found for warnings.

Addresses count as loopback only if they are written as such: a name may mean any machine.
"""

import os
import stat
import uuid
from collections.abc import Iterator
from typing import Final, assert_never

from trio_vmess.config.endpoints import (
    BlackholeOutboundSettings,
    DokodemoInboundSettings,
    FreedomOutboundSettings,
    HttpInboundSettings,
    HttpOutboundSettings,
    InboundSettings,
    MixedInboundSettings,
    OutboundSettings,
    SocksInboundSettings,
    SocksOutboundSettings,
    VMessInboundSettings,
    VMessOutboundSettings,
)
from trio_vmess.config.enums import SecurityName, SocksAuth
from trio_vmess.config.location import Finding, locate
from trio_vmess.config.model import Config
from trio_vmess.config.transports import StreamSettings, UnixSocket
from trio_vmess.core import Host

_UNENCRYPTED: Final = frozenset({SecurityName.NONE, SecurityName.ZERO})

_ALTER_ID_ADVICE: Final = (
    "legacy headers are weaker than AEAD headers, and are easier to detect; use alterId 0 unless"
)


def find_exposures(config: Config) -> Iterator[Finding]:
    """Find what strangers may use, read or detect."""
    for index, inbound in enumerate(config.inbounds):
        where = f"inbounds[{index}]"
        yield from _readable_keys(inbound.stream, where)
        if _is_open_proxy(inbound):
            yield (
                locate(inbound.locations, "listen", where),
                (
                    f"everyone who can reach {inbound.listen} can use this proxy; set accounts, "
                    "or listen on 127.0.0.1"
                ),
            )
        if isinstance(inbound.protocol, VMessInboundSettings):
            yield from _legacy_users(inbound.protocol, where)
    for index, outbound in enumerate(config.outbounds):
        yield from _readable_keys(outbound.stream, f"outbounds[{index}]")
        yield from _unverified(outbound, f"outbounds[{index}]")
        if isinstance(outbound.protocol, VMessOutboundSettings):
            yield from _vmess_outbound(outbound, outbound.protocol, f"outbounds[{index}]")


def _is_open_proxy(inbound: InboundSettings) -> bool:
    if isinstance(inbound.listen, UnixSocket) or inbound.listen.is_loopback:
        return False
    match inbound.protocol:
        case SocksInboundSettings(auth=auth, accounts=accounts):
            # That accounts have no effect is another warning.
            return auth is SocksAuth.NOAUTH and not accounts
        case HttpInboundSettings(accounts=accounts) | MixedInboundSettings(accounts=accounts):
            return not accounts
        case VMessInboundSettings() | DokodemoInboundSettings():
            return False
        case _:
            assert_never(inbound.protocol)


def _legacy_users(protocol: VMessInboundSettings, where: str) -> Iterator[Finding]:
    legacy = [(i, user) for i, user in enumerate(protocol.users) if user.alter_id > 0]
    if legacy:
        first, user = legacy[0]
        who = "1 user has" if len(legacy) == 1 else f"{len(legacy)} users have"
        yield (
            locate(user.locations, "alter_id", f"{where}.users[{first}]"),
            f"{who} an alterId above 0: {_ALTER_ID_ADVICE} a client is older than V2Ray 4.28",
        )
    if protocol.default.alter_id > 0:
        yield (
            locate(protocol.locations, "default", where),
            (
                "users that a detour creates have an alterId above 0: "
                f"{_ALTER_ID_ADVICE} a client is older than V2Ray 4.28"
            ),
        )


def _unverified(outbound: OutboundSettings, where: str) -> Iterator[Finding]:
    tls = outbound.stream.tls
    if (
        tls is not None
        and tls.allow_insecure
        and not (tls.pinned_certificates or tls.pinned_chains)
    ):
        yield (
            locate(tls.locations, "allow_insecure", f"{where}.tls"),
            (
                "the server's certificate is not verified: whoever is on the way can read and "
                "change what TLS is to protect; set it to false, or pin the certificate"
            ),
        )


def _vmess_outbound(
    outbound: OutboundSettings, protocol: VMessOutboundSettings, where: str
) -> Iterator[Finding]:
    location = locate(outbound.locations, "", where)
    is_protected = outbound.stream.tls is not None or outbound.stream.unix is not None
    for server in protocol.servers:
        for user in server.users:
            if user.security in _UNENCRYPTED and not (is_protected or _is_loopback(server.address)):
                yield (
                    location,
                    (
                        f"the security {user.security.value!r} leaves the traffic to "
                        f"{server.address} unencrypted; use 'auto'"
                    ),
                )
            if user.alter_id > 0:
                yield (
                    location,
                    (
                        f"the alterId for {server.address} is {user.alter_id}: "
                        f"{_ALTER_ID_ADVICE} the server is older than V2Ray 4.28"
                    ),
                )


def _is_loopback(host: Host) -> bool:
    return host == "localhost" if isinstance(host, str) else host.is_loopback


# Files --------------------------------------------------------------------------------------------


def is_readable_by_all(path: str) -> bool:
    """Tell whether every user of this machine may read a file; unknown is no."""
    if os.name != "posix":
        return False
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # the latter for a NUL in the path
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _readable_keys(stream: StreamSettings, where: str) -> Iterator[Finding]:
    for each in () if stream.tls is None else stream.tls.certificates:
        if each.key_file and is_readable_by_all(each.key_file):
            yield (
                locate(each.locations, "key_file", f"{where}.tls"),
                (
                    f"every user of this machine can read the private key in {each.key_file}; "
                    "remove that permission (chmod o-r)"
                ),
            )


def has_secrets(config: Config, text: str) -> bool:
    """Tell whether a file has ids or passwords in it, rather than in the environment.

    Args:
        config: what was read from the file.
        text: the file.
    """
    secrets = list(_secrets(config))
    if "env:" not in text:
        return bool(secrets)
    lower = text.lower()
    return any(each.lower() in lower for each in secrets)


def _keys(stream: StreamSettings) -> Iterator[str]:
    """Yield a line of each private key that is in the file itself."""
    for certificate in () if stream.tls is None else stream.tls.certificates:
        if certificate.key:
            yield certificate.key.split("\n")[1 % (certificate.key.count("\n") + 1)]


def _secrets(config: Config) -> Iterator[str]:
    for inbound in config.inbounds:
        yield from _keys(inbound.stream)
        match inbound.protocol:
            case VMessInboundSettings(users=users):
                yield from (str(uuid.UUID(bytes=user.id)) for user in users)
            case (
                SocksInboundSettings(accounts=accounts)
                | HttpInboundSettings(accounts=accounts)
                | MixedInboundSettings(accounts=accounts)
            ):
                yield from (account.password for account in accounts)
            case DokodemoInboundSettings():
                continue
            case _:
                assert_never(inbound.protocol)
    for outbound in config.outbounds:
        yield from _keys(outbound.stream)
        match outbound.protocol:
            case VMessOutboundSettings(servers=servers):
                yield from (
                    str(uuid.UUID(bytes=user.id)) for server in servers for user in server.users
                )
            case SocksOutboundSettings(servers=parents) | HttpOutboundSettings(servers=parents):
                yield from (user.password for parent in parents for user in parent.users)
            case FreedomOutboundSettings() | BlackholeOutboundSettings():
                continue
            case _:
                assert_never(outbound.protocol)
