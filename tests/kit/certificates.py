"""Certificates made for a test."""

import functools
import ssl
from pathlib import Path

import attrs
import trustme

from trio_vmess.core.x509 import fingerprint


@functools.cache
def authority() -> trustme.CA:
    """Return the authority that issues everything here; making one takes a while."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@functools.cache
def issue(*names: str) -> trustme.LeafCert:
    """Return a certificate for host names and addresses."""
    return authority().issue_cert(*names, key_type=trustme.KeyType.ECDSA)


@attrs.frozen
class CertificateFiles:
    """A certificate and its key as files.

    Attributes:
        certificate: its PEM file, with the authority's behind it.
        key: the PEM file of its key.
        root: the PEM file of the authority.
    """

    certificate: Path
    key: Path
    root: Path


def write_certificate(
    folder: Path, *names: str, leaf: trustme.LeafCert | None = None
) -> CertificateFiles:
    """Write a certificate for some names to a folder, over one that is there already."""
    leaf = leaf or issue(*names)
    files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "root.pem")
    files.certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    files.key.write_bytes(leaf.private_key_pem.bytes())
    files.root.write_bytes(authority().cert_pem.bytes())
    return files


def der_of(leaf: trustme.LeafCert) -> bytes:
    """Return a certificate in DER."""
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def fingerprint_of(leaf: trustme.LeafCert) -> bytes:
    """Return the SHA-256 hash of a certificate."""
    return fingerprint(der_of(leaf))
