"""What an X.509 certificate says: names, issuer, dates, fingerprints.

OpenSSL verifies chains; this module is for messages to people, for the choice of a certificate by
server name, and for pinned hashes.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from trio_vmess.core.crypto import sha256
from trio_vmess.core.destination import IPAddress

_DAY: Final = 86_400


@attrs.frozen(kw_only=True)
class Certificate:
    """A certificate.

    Attributes:
        subject: its subject, as in RFC 4514.
        issuer: who has signed it, likewise.
        names: the host names it is for; may begin with `*.`.
        addresses: the IP addresses it is for.
        not_before: the UTC second from which it is valid.
        not_after: the UTC second until which it is valid.
        validity: both days, for people.
        fingerprint: SHA-256 of its DER form, 32 bytes.
    """

    subject: str
    issuer: str
    names: Sequence[str]
    addresses: Sequence[IPAddress]
    not_before: int
    not_after: int
    validity: str
    fingerprint: bytes

    @property
    def is_self_signed(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.subject == self.issuer

    def is_for(self, host: str) -> bool:
        """Return whether it is for a host name.

        Source:
            RFC 6125 section 6.4.3: `*` stands for exactly one label, the leftmost one.
        """
        wanted = host.lower().rstrip(".")
        parent = "*." + wanted.partition(".")[2]
        return any(name.lower() in (wanted, parent) for name in self.names)

    def is_for_address(self, address: IPAddress) -> bool:
        """Return whether it is for an IP address."""
        return address in self.addresses

    def days_left(self, now: float) -> int:
        """Return for how many whole days it is still valid; negative once it has expired."""
        return int((self.not_after - now) // _DAY)

    def __str__(self) -> str:
        """Say whom it is for and who has issued it."""
        names = ", ".join([*self.names, *map(str, self.addresses)]) or self.subject or "nobody"
        return f"the certificate for {names}, issued by {self.issuer or 'nobody'}"


@functools.lru_cache(maxsize=64)
def read_certificate(der: bytes) -> Certificate:
    """Read a certificate.

    Args:
        der: its DER form.

    Raises:
        ValueError: it cannot be parsed.
    """
    parsed = x509.load_der_x509_certificate(der)
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.DNSName)
        addresses = found.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        names, addresses = [], []
    first, last = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    return Certificate(
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        names=names,
        addresses=[each for each in addresses if isinstance(each, IPAddress)],
        not_before=int(first.timestamp()),
        not_after=int(last.timestamp()),
        validity=f"{first:%Y-%m-%d} to {last:%Y-%m-%d}",
        fingerprint=fingerprint(der),
    )


def read_pem(text: str) -> Sequence[Certificate]:
    """Read all certificates of a PEM text, in its order.

    Raises:
        ValueError: there is none, or one cannot be parsed.
    """
    parsed = x509.load_pem_x509_certificates(text.encode())
    return [read_certificate(each.public_bytes(Encoding.DER)) for each in parsed]


def fingerprint(der: bytes) -> bytes:
    """Return the SHA-256 hash of a certificate's DER form."""
    return sha256(der)


def chain_hash(chain: Iterable[bytes]) -> bytes:
    """Return the hash by which V2Ray 5 pins a chain.

    Args:
        chain: the DER forms, as the server sends them.

    Source:
        v2ray-core 5, transport/internet/tls/pin.go.
    """
    result = b""
    for der in chain:
        each = fingerprint(der)
        result = sha256(result + each) if result else each
    return result


def is_vouched_for(chain: Sequence[bytes], authority: bytes, host: str) -> bool:
    """Return whether an authority vouches for a server, now.

    Args:
        chain: the DER forms of what the server has sent, its own certificate first.
        authority: the DER form of the only certificate that is trusted.
        host: the name that the server must have.
    """
    own, *others = map(x509.load_der_x509_certificate, chain)
    store = verification.Store([x509.load_der_x509_certificate(authority)])
    # The usual policy refuses forms that only matter to public authorities.
    names = verification.ExtensionPolicy.permit_all().require_present(
        x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None
    )
    authorities = verification.ExtensionPolicy.webpki_defaults_ca()
    policy = verification.PolicyBuilder().store(store)
    policy = policy.extension_policies(ca_policy=authorities, ee_policy=names)
    try:
        verifier = policy.build_server_verifier(x509.DNSName(host))
        verifier.verify(own, others)
    except verification.VerificationError:
        return False
    return True
