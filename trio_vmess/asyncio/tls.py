"""The TLS context of a client, for asyncio's own TLS."""

import functools
import ssl
from pathlib import Path
from typing import Final

from trio_vmess.config import CertificateSettings, TlsSettings, TlsVersion, locate
from trio_vmess.errors import ConfigError

_VERSIONS: Final = {
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}


@functools.lru_cache(maxsize=8)
def client_context(tls: TlsSettings, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """Build the context of a client; the last few are kept, because one takes 20 ms.

    Args:
        tls: the settings, without pins and certificates of our own.
        alpn: the application protocols to offer.

    Raises:
        ConfigError: a root cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.min_version is not None:
        context.minimum_version = _VERSIONS[tls.min_version]
    if tls.max_version is not None:
        context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(alpn)
    if not tls.session_resumption:
        context.options |= ssl.OP_NO_TICKET
    if tls.allow_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if not tls.disable_system_root:
        context.load_default_certs()
    for root in tls.roots:
        try:
            context.load_verify_locations(cadata=_read(root))
        except (OSError, UnicodeDecodeError, ssl.SSLError) as exc:
            name = root.certificate_file or "a root"
            problem = locate(tls.locations, "certificates", "tls").problem(
                f"{name}: not a PEM certificate that can be read ({exc})", file=""
            )
            raise ConfigError(problem) from None
    return context


def _read(root: CertificateSettings) -> str:
    if not root.certificate_file:
        return root.certificate
    return Path(root.certificate_file).read_text()
