"""The transport of a server without a file, and of the link that leads to it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trio_vmess.cli.arguments import ServerArguments
from trio_vmess.config import (
    CarrierSettings,
    CertificateSettings,
    StreamSettings,
    TcpSettings,
    TlsSettings,
    WebSocketSettings,
)
from trio_vmess.core import Host

if TYPE_CHECKING:
    from trio_vmess.core.x509 import Certificate


def server_stream(arguments: ServerArguments) -> StreamSettings:
    """Return what carries VMess, as the flags want it."""
    tls = None
    if arguments.tls is not None:
        certificate, key = arguments.tls
        own = CertificateSettings(certificate_file=certificate, key_file=key)
        tls = TlsSettings(certificates=(own,))
    return StreamSettings(carrier=_carrier(arguments), tls=tls)


def client_stream(
    arguments: ServerArguments, host: Host, certificate: "Certificate | None"
) -> StreamSettings:
    """Return what carries VMess to the server.

    Args:
        arguments: of the server.
        host: where clients reach it.
        certificate: the server's; None without TLS.
    """
    tls = None if certificate is None else TlsSettings(server_name=_server_name(certificate, host))
    return StreamSettings(carrier=_carrier(arguments), tls=tls)


def find_doubts(certificate: "Certificate", host: Host) -> Iterator[str]:
    """Find why clients with the link may not accept a certificate.

    Args:
        certificate: the server's.
        host: where clients reach it.
    """
    if certificate.is_self_signed:
        yield (
            f"{certificate}, is self-signed: clients accept it only if their configuration has it "
            "in 'roots', or its fingerprint in 'pinned_certificates': "
            f"{certificate.fingerprint.hex()}"
        )
    if not _is_for(certificate, _server_name(certificate, host) or host):
        yield (
            f"{certificate}, is not for {host}: clients refuse it; set --name to a name that it has"
        )


def _server_name(certificate: "Certificate", host: Host) -> str:
    """Return the name that clients are to check, if it is not where they connect to.

    A link with an address alone is for a server whose certificate has a name: they go together.
    """
    if isinstance(host, str) or _is_for(certificate, host):
        return ""
    return next((name for name in certificate.names if not name.startswith("*")), "")


def _is_for(certificate: "Certificate", host: Host) -> bool:
    return certificate.is_for(host) if isinstance(host, str) else certificate.is_for_address(host)


def _carrier(arguments: ServerArguments) -> CarrierSettings:
    return TcpSettings() if arguments.ws is None else WebSocketSettings(path=arguments.ws)
