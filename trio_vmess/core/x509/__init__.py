"""X.509 certificates, as far as people and pinned hashes are concerned."""

from trio_vmess.core.x509.certificate import (
    Certificate,
    chain_hash,
    fingerprint,
    is_vouched_for,
    read_certificate,
    read_pem,
)

__all__ = [
    "Certificate",
    "chain_hash",
    "fingerprint",
    "is_vouched_for",
    "read_certificate",
    "read_pem",
]
