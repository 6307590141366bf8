"""What certificates say."""

import pytest
import trustme

from trio_vmess.core.x509 import chain_hash, fingerprint, read_certificate, read_pem

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)


def pem_of(*names: str) -> str:
    leaf = AUTHORITY.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
    return leaf.cert_chain_pems[0].bytes().decode()


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("a.example", "a.example", True),
        ("a.example", "A.Example.", True),
        ("a.example", "b.example", False),
        ("a.example", "x.a.example", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
    ],
)
def test_names(name: str, host: str, expected: bool) -> None:
    (certificate,) = read_pem(pem_of(name))
    assert certificate.is_for(host) is expected


def test_what_people_are_told() -> None:
    (certificate,) = read_pem(pem_of("a.example", "192.0.2.1"))
    text = str(certificate)
    assert text.startswith("the certificate for a.example, 192.0.2.1, issued by OU=Testing CA")
    assert not certificate.is_self_signed
    first, _, last = certificate.validity.partition(" to ")
    assert first < last


def test_the_days_that_are_left() -> None:
    (certificate,) = read_pem(pem_of("a.example"))
    assert certificate.days_left(certificate.not_after - 86_400 * 3) == 3
    assert certificate.days_left(certificate.not_after - 1) == 0
    assert certificate.days_left(certificate.not_after + 1) == -1


def test_all_of_a_file_in_its_order() -> None:
    found = read_pem(pem_of("a.example") + AUTHORITY.cert_pem.bytes().decode())
    assert [each.is_self_signed for each in found] == [False, True]


def test_the_hash_of_a_chain() -> None:
    """Of one certificate it is that of the certificate; the order counts."""
    assert chain_hash([b"one"]) == fingerprint(b"one")
    assert chain_hash([b"one", b"two"]) != chain_hash([b"two", b"one"])


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the library's texts are its own)
        read_pem(text)


def test_what_is_no_der() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_certificate(b"\x30\x00")
