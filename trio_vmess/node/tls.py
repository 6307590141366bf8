"""Builds the TLS layer of an inbound, and that of an outbound."""

import contextlib
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final

from trio_vmess.config import TlsSettings, TlsVersion, locate
from trio_vmess.contracts import Connect, Fallback, Inbound
from trio_vmess.errors import ConfigError
from trio_vmess.node.certificates import InboundCertificates, key_pair, read_root
from trio_vmess.transport.tls import (
    TlsBuffers,
    TlsConnect,
    TlsIdentity,
    TlsOptions,
    TlsServer,
    client_context,
)

_VERSIONS: Final = {
    None: None,
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}


def load_certificates(
    tls: TlsSettings, alpn: Sequence[str], *, tag: str, file: str
) -> InboundCertificates:
    """Load the certificates of an inbound.

    Args:
        tls: its settings.
        alpn: the application protocols to offer.
        tag: the inbound's.
        file: the name of the configuration file, for errors.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    return InboundCertificates(tls, _options(tls, alpn), tag=tag, file=file, clock=time.time)


def tls_server(
    inbound: Inbound,
    certificates: InboundCertificates,
    buffers: TlsBuffers,
    plain: Fallback | None,
) -> Inbound:
    """Put TLS in front of an inbound; `plain` answers those who come without, if anybody does."""
    return TlsServer(
        inbound=inbound, context=lambda: certificates.context, buffers=buffers, plain=plain
    )


def tls_client(
    tls: TlsSettings,
    alpn: Sequence[str],
    buffers: TlsBuffers,
    *,
    sends_next: bool,
    file: str,
) -> Callable[[Connect], Connect]:
    """Build the TLS layer of an outbound; the result puts it around what dials.

    Args:
        tls: its settings.
        alpn: the application protocols to offer.
        buffers: shared by all TLS connections of the node.
        sends_next: whether what is inside begins with bytes of the client's, sent at once.
        file: the name of the configuration file, for errors.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    has_pins = bool(tls.pinned_certificates or tls.pinned_chains)
    try:
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(key_pair(each)) for each in tls.certificates[:1]]
            context = client_context(
                _options(tls, alpn),
                roots=[read_root(each) for each in tls.roots],
                system_roots=not tls.disable_system_root,
                verifies_chain=not (tls.allow_insecure or has_pins),
                verifies_name=not tls.verify_names,
                pair=pairs[0] if pairs else None,
            )
    except ValueError as exc:
        problem = locate(tls.locations, "certificates", "tls").problem(str(exc), file=file)
        raise ConfigError(problem) from None
    identity = TlsIdentity(
        server_name=tls.server_name,
        names=() if tls.allow_insecure else tls.verify_names,
        pins=frozenset(tls.pinned_certificates),
        chain_pins=frozenset(tls.pinned_chains),
    )
    return lambda connect: TlsConnect(
        connect=connect,
        context=context,
        identity=identity,
        buffers=buffers,
        resumes=tls.session_resumption,
        sends_next=sends_next,
    )


def _options(tls: TlsSettings, alpn: Sequence[str]) -> TlsOptions:
    return TlsOptions(
        alpn=alpn,
        minimum=_VERSIONS[tls.min_version],
        maximum=_VERSIONS[tls.max_version],
        resumes=tls.session_resumption,
    )
