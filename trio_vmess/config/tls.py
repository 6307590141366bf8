"""Reading the settings of TLS: V2Ray's and Xray's `tlsSettings`, and `tls` in TOML."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

import attrs

from trio_vmess.config import values
from trio_vmess.config.enums import TlsVersion
from trio_vmess.config.reader import Entry, Section
from trio_vmess.config.transports import (
    CarrierSettings,
    CertificateSettings,
    HttpUpgradeSettings,
    TlsSettings,
    WebSocketSettings,
)
from trio_vmess.config.tree import Members, Value, describe, quote

__all__ = ["carrier_alpn", "read_tls"]

_ECH_KEYS: Final = (
    "ech_config_list",
    "ech_server_keys",
    "ech_force_query",
    "ech_sockopt",
    "ech_config",
)
_OLD_VERSIONS: Final = ("1.0", "1.1")
_HEX_DIGEST: Final = re.compile(r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")
_NOT_REPLACED: Final = "the choice of Python's TLS library is used"

_USAGES: Final = ("encipherment", "verify", "verifyclient")


def carrier_alpn(carrier: CarrierSettings, alpn: tuple[str, ...]) -> tuple[str, ...]:
    """Return the application protocols that can be offered.

    WebSocket and HTTPUpgrade speak HTTP/1.1. A peer that may choose `h2` does, and nothing works.
    """
    if isinstance(carrier, WebSocketSettings | HttpUpgradeSettings) and "h2" in alpn:
        return ("http/1.1",)
    return alpn


def read_tls(section: Section, carrier: CarrierSettings) -> TlsSettings:
    """Read the settings of TLS.

    Args:
        section: the object; in V2Ray's files, also one without keys.
        carrier: what TLS is around.
    """
    if not section.native:
        _check_foreign(section)
    own, roots, client_roots = _read_certificates(section)
    names = section.many(
        "verify_names", _name, json=("verifyPeerCertByName", "verifyPeerCertInNames")
    )
    tls = TlsSettings(
        server_name=section.get("server_name", _server_name, ""),
        alpn=_read_alpn(section, carrier),
        certificates=own,
        roots=roots,
        disable_system_root=section.get("disable_system_root", values.flag, False),
        allow_insecure=section.get("allow_insecure", values.flag, False),
        session_resumption=_read_resumption(section),
        min_version=section.get("min_version", _version, None),
        max_version=section.get("max_version", _version, None),
        reject_unknown_sni=section.get("reject_unknown_sni", values.flag, False),
        pinned_certificates=section.many(
            "pinned_certificates", digest, json=("pinnedPeerCertSha256",)
        ),
        pinned_chains=section.many(
            "pinned_chains", digest, json=("pinnedPeerCertificateChainSha256",)
        ),
        verify_names=names,
        verify_client_certificate=section.get("verify_client_certificate", values.flag, False),
        client_roots=client_roots,
    )
    if (tls.min_version, tls.max_version) == (TlsVersion.TLS_1_3, TlsVersion.TLS_1_2):
        message = "the lowest version is above the highest"
        section.report.problem(section.locations()["min_version"], message)
    return attrs.evolve(tls, locations=section.locations())


def _check_foreign(section: Section) -> None:
    """Check the keys of V2Ray and Xray that have no setting here."""
    section.ignore_if_set("fingerprint", "Python's TLS library cannot imitate a browser")
    section.ignore_if_set("cipher_suites", _NOT_REPLACED)
    section.ignore_if_set("curve_preferences", _NOT_REPLACED)
    section.ignore_if_set("allow_insecure_ciphers", "insecure ciphers are never used")
    section.ignore_if_set("show", "it has no meaning without REALITY")
    section.refuse_if_set("master_key_log", "keys of TLS are never written to a file; remove it")
    section.refuse_if_set(
        "pinned_peer_certificate_public_key_sha256",
        "pinning public keys is not supported; set the hash of the certificate as "
        "'pinnedPeerCertSha256'",
    )
    for name in _ECH_KEYS:
        section.refuse_if_set(name, "encrypted ClientHellos (ECH) are not supported; remove it")


def _read_resumption(section: Section) -> bool:
    if section.native:
        return section.get("session_resumption", values.flag, False)
    # The old key had the opposite meaning, and was true by default.
    old = section.get("disable_session_resumption", values.flag, True)
    return section.get(
        "session_resumption", values.flag, not old, json=("enableSessionResumption",)
    )


def _read_alpn(section: Section, carrier: CarrierSettings) -> tuple[str, ...]:
    alpn = section.many("alpn", _protocol_name)
    usable = carrier_alpn(carrier, alpn)
    if usable != alpn:
        section.report.warn(
            section.locations()["alpn"],
            "only 'http/1.1' is offered: the transport cannot be spoken over 'h2'",
        )
    return usable


def _protocol_name(raw: Value) -> str:
    value = values.filled_text(raw)
    if not value.isascii() or len(value) > 255:
        raise ValueError(f"{quote(value)} is not the name of an application protocol")
    return value


def _server_name(raw: Value) -> str:
    return _name(raw) if values.text(raw) else ""


def _name(raw: Value) -> str:
    return str(values.host(raw))


def _version(raw: Value) -> TlsVersion | None:
    value = values.text(raw)
    if value in _OLD_VERSIONS:
        raise ValueError(f"TLS {value} is not secure, and not supported; use '1.2' or '1.3'")
    return values.word(TlsVersion)(raw) if value else None


def digest(raw: Value) -> bytes:
    """Read a SHA-256 hash: in hex, also with colons, or in Base64."""
    value = values.text(raw).strip()
    if _HEX_DIGEST.fullmatch(value):
        return bytes.fromhex(value.replace(":", ""))
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) == 32:
        return decoded
    raise ValueError(f"expected a SHA-256 hash in hex or Base64, found {quote(value)}")


# Certificates -------------------------------------------------------------------------------------

_Certificates = tuple[CertificateSettings, ...]


def _read_certificates(section: Section) -> tuple[_Certificates, _Certificates, _Certificates]:
    """Return our own certificates, the roots of a client, and those for clients of a server."""
    if section.native:
        return (
            (*_read_pair(section), *_read_list(section, "certificates", has_key=True)),
            _read_list(section, "roots"),
            _read_list(section, "client_roots"),
        )
    by_usage: dict[str, list[CertificateSettings]] = {usage: [] for usage in _USAGES}
    for each in section.sections("certificates"):
        usage = each.get("usage", _usage, "encipherment")
        each.ignore_if_set("ocsp_stapling", "OCSP responses are not stapled")
        each.ignore_if_set("one_time_loading", "renewed files are always loaded")
        each.ignore_if_set("build_chain", "chains are not built; put them into the file")
        by_usage[usage].append(_read_certificate(each, has_key=usage == "encipherment"))
    own, roots, client_roots = by_usage.values()
    return tuple(own), tuple(roots), tuple(client_roots)


def _usage(raw: Value) -> str:
    usage = values.text(raw).lower()
    if usage == "issue":
        raise ValueError("certificates are not issued by the node; use 'encipherment'")
    return values.choice({each: each for each in _USAGES})(raw) if usage else "encipherment"


def _read_pair(section: Section) -> _Certificates:
    """Read the certificate whose keys are in the table of TLS itself."""
    keys = ("certificate_file", "certificate", "key_file", "key")
    if all(section.find(name) is None for name in keys):
        return ()
    return (_read_certificate(section, has_key=True),)


def _read_list(section: Section, name: str, *, has_key: bool = False) -> _Certificates:
    return tuple(
        _read_certificate_entry(section, each, has_key=has_key) for each in section.entries(name)
    )


def _read_certificate_entry(
    section: Section, entry: Entry, *, has_key: bool
) -> CertificateSettings:
    """Read a table; or a text, which is the path of a certificate that needs no key."""
    if isinstance(entry.value.content, Members) or has_key:
        return _read_certificate(section.report.open(entry.value, entry.where), has_key=has_key)
    path = section.convert(entry, values.filled_text, "")
    return CertificateSettings(
        certificate_file=section.report.path(path), locations={"": entry.location}
    )


def _read_certificate(section: Section, *, has_key: bool) -> CertificateSettings:
    def file(name: str) -> str:
        path = section.get(name, values.text, "")
        return section.report.path(path) if path else ""

    certificate = CertificateSettings(
        certificate_file=file("certificate_file"),
        key_file=file("key_file"),
        certificate=section.get("certificate", _pem("CERTIFICATE"), ""),
        key=section.get("key", _pem("PRIVATE KEY"), ""),
    )
    _check_one_of(section, certificate.certificate_file, certificate.certificate, "certificate")
    if has_key or certificate.key_file or certificate.key:
        _check_one_of(section, certificate.key_file, certificate.key, "key")
    return attrs.evolve(certificate, locations=section.locations())


def _check_one_of(section: Section, path: str, text: str, name: str) -> None:
    if path and text:
        # A file wins in V2Ray; which one was meant is anybody's guess.
        section.report.problem(
            section.locations()[name], f"same setting as '{name}File'; keep only one of them"
        )
    elif not path and not text and name not in section.locations():
        location = section.missing_location(f"{name}_file")
        key = location.where.rpartition(".")[2]
        section.report.problem(location, f"'{key}' is missing: the path of a PEM file")


def _pem(kind: str) -> Callable[[Value], str]:
    """Return a reader of PEM: a text, or a list of its lines. Messages show nothing of it."""

    def read(raw: Value) -> str:
        listed = raw.content if isinstance(raw.content, tuple) else (raw,)
        if not listed:
            return ""
        text = "\n".join(map(values.secret, listed)).strip()
        if text and not re.search(f"-----BEGIN [A-Z ]*{kind}-----", text):
            found = describe(raw, secret=True) if isinstance(raw.content, tuple) else "another text"
            raise ValueError(f"expected PEM, with -----BEGIN {kind}-----; found {found}")
        return text

    return read
