"""The settings of TLS, in V2Ray's and Xray's words and in TOML."""

import base64

import pytest

from tests.config.problems import check_problem
from tests.config.streams import (
    CERTIFICATES,
    FILE,
    inbound_of,
    json_inbound,
    json_outbound,
    outbound_of,
    toml_inbound,
    toml_outbound,
)
from trio_vmess.config import CertificateSettings, TlsSettings, TlsVersion, parse_config

DIGEST = bytes(range(32))
COLONS = DIGEST.hex(":").upper()
BASE64 = base64.b64encode(DIGEST).decode()
PEM = ["-----BEGIN CERTIFICATE-----", "MIIB", "-----END CERTIFICATE-----"]
KEY = ["-----BEGIN EC PRIVATE KEY-----", "c2VjcmV0c2VjcmV0", "-----END EC PRIVATE KEY-----"]
OWN = CertificateSettings(certificate_file="/etc/node/c.pem", key_file="/etc/node/k.pem")
WHERE = "outbounds[0].streamSettings.tlsSettings"


def client_of(tls, network="tcp"):
    stream = {"network": network, "security": "TLS", "tlsSettings": tls}
    outbound, warnings = outbound_of(json_outbound(stream))
    return outbound.stream.tls, warnings


@pytest.mark.parametrize(
    ("keys", "settings"),
    [
        ({}, TlsSettings()),
        ({"serverName": "c.d", "fingerprint": ""}, TlsSettings(server_name="c.d")),
        ({"serverName": ""}, TlsSettings()),
        ({"alpn": ["h2", "http/1.1"]}, TlsSettings(alpn=("h2", "http/1.1"))),
        ({"alpn": "h2,http/1.1"}, TlsSettings(alpn=("h2", "http/1.1"))),
        ({"disableSystemRoot": True}, TlsSettings(disable_system_root=True)),
        ({"enableSessionResumption": True}, TlsSettings(session_resumption=True)),
        ({"disableSessionResumption": False}, TlsSettings(session_resumption=True)),
        (
            {"minVersion": "1.2", "maxVersion": "1.3"},
            TlsSettings(min_version=TlsVersion.TLS_1_2, max_version=TlsVersion.TLS_1_3),
        ),
        ({"rejectUnknownSni": True}, TlsSettings(reject_unknown_sni=True)),
        (
            {"pinnedPeerCertSha256": f"{DIGEST.hex()},{COLONS}"},
            TlsSettings(pinned_certificates=(DIGEST, DIGEST)),
        ),
        (
            {"pinnedPeerCertificateChainSha256": [BASE64]},
            TlsSettings(pinned_chains=(DIGEST,)),
        ),
        ({"verifyPeerCertByName": "c.d,e.f"}, TlsSettings(verify_names=("c.d", "e.f"))),
        ({"verifyPeerCertInNames": ["c.d"]}, TlsSettings(verify_names=("c.d",))),
        (
            {"certificates": [*CERTIFICATES, {"usage": "verify", "certificate": PEM}]},
            TlsSettings(
                certificates=(OWN,), roots=(CertificateSettings(certificate="\n".join(PEM)),)
            ),
        ),
    ],
)
def test_the_keys_of_a_client(keys, settings):
    assert client_of(keys) == (settings, [])


def test_the_keys_of_a_server():
    tls = {
        "certificates": [
            {"certificate": PEM, "key": KEY, "usage": "Encipherment", "ocspStapling": 0},
            {"certificateFile": "/ca.pem", "usage": "verifyclient"},
        ],
        "verifyClientCertificate": True,
    }
    inbound, warnings = inbound_of(json_inbound({"security": "tls", "tlsSettings": tls}))
    assert warnings == []
    assert inbound.stream.tls == TlsSettings(
        certificates=(CertificateSettings(certificate="\n".join(PEM), key="\n".join(KEY)),),
        client_roots=(CertificateSettings(certificate_file="/ca.pem"),),
        verify_client_certificate=True,
    )


def test_the_same_in_toml():
    keys = f"""
        [outbounds.tls]
        server_name = "c.d"
        alpn = ["h2"]
        certificate_file = "c.pem"
        key_file = "k.pem"
        roots = ["ca.pem", {{ certificate = '''{chr(10).join(PEM)}''' }}]
        disable_system_root = true
        allow_insecure = true
        session_resumption = true
        min_version = "1.3"
        max_version = "1.3"
        pinned_certificates = ["{DIGEST.hex()}"]
        pinned_chains = ["{BASE64}"]
        verify_names = ["e.f"]
    """
    outbound, warnings = outbound_of(toml_outbound(keys), "toml")
    assert warnings == []
    assert outbound.stream.tls == TlsSettings(
        server_name="c.d",
        alpn=("h2",),
        certificates=(OWN,),
        roots=(
            CertificateSettings(certificate_file="/etc/node/ca.pem"),
            CertificateSettings(certificate="\n".join(PEM)),
        ),
        disable_system_root=True,
        allow_insecure=True,
        session_resumption=True,
        min_version=TlsVersion.TLS_1_3,
        max_version=TlsVersion.TLS_1_3,
        pinned_certificates=(DIGEST,),
        pinned_chains=(DIGEST,),
        verify_names=("e.f",),
    )


def test_a_list_of_certificates_in_toml():
    second = '{ certificate_file = "d.pem", key_file = "l.pem" }'
    keys = f"""
        [inbounds.tls]
        certificates = [{{ certificate_file = "c.pem", key_file = "k.pem" }}, {second}]
        verify_client_certificate = true
        client_roots = ["ca.pem"]
        reject_unknown_sni = true
    """
    inbound, warnings = inbound_of(toml_inbound(keys), "toml")
    assert warnings == []
    tls = inbound.stream.tls
    assert [each.key_file for each in tls.certificates] == ["/etc/node/k.pem", "/etc/node/l.pem"]
    assert [each.certificate_file for each in tls.client_roots] == ["/etc/node/ca.pem"]
    assert (tls.verify_client_certificate, tls.reject_unknown_sni) == (True, True)


@pytest.mark.parametrize("network", ["ws", "httpupgrade"])
def test_h2_is_not_offered_for_what_speaks_http_1(network):
    tls, warnings = client_of({"alpn": ["h2", "http/1.1"]}, network)
    assert tls.alpn == ("http/1.1",)
    assert [where for where, _ in warnings] == [f"{WHERE}.alpn"]
    assert "only 'http/1.1' is offered" in warnings[0][1]
    assert client_of({"alpn": ["http/1.1"]}, network) == (TlsSettings(alpn=("http/1.1",)), [])


@pytest.mark.parametrize(
    ("keys", "where", "message"),
    [
        ({"fingerprint": "chrome"}, "fingerprint", "cannot imitate a browser"),
        ({"cipherSuites": "TLS_AES_128_GCM_SHA256"}, "cipherSuites", "the choice of Python's"),
        ({"curvePreferences": ["X25519"]}, "curvePreferences", "the choice of Python's"),
        ({"allowInsecureCiphers": True}, "allowInsecureCiphers", "never used"),
        (
            {"certificates": [CERTIFICATES[0] | {"ocspStapling": 3600}]},
            "certificates[0].ocspStapling",
            "not stapled",
        ),
        (
            {"certificates": [CERTIFICATES[0] | {"oneTimeLoading": True}]},
            "certificates[0].oneTimeLoading",
            "renewed files are always loaded",
        ),
    ],
)
def test_what_has_no_effect_is_warned_about(keys, where, message):
    _, warnings = client_of(keys)
    ((found, text),) = warnings
    assert found == f"{WHERE}.{where}"
    assert text.startswith("ignored: ")
    assert message in text


@pytest.mark.parametrize(
    ("keys", "where", "message"),
    [
        ({"serverName": "experiment:8357"}, "serverName", "contains a port"),
        ({"serverName": "a b"}, "serverName", "neither an IP address nor a domain name"),
        ({"minVersion": "1.1"}, "minVersion", "TLS 1.1 is not secure, and not supported"),
        ({"maxVersion": "1.0"}, "maxVersion", "use '1.2' or '1.3'"),
        ({"maxVersion": "2"}, "maxVersion", "expected one of 1.2, 1.3"),
        ({"minVersion": "1.3", "maxVersion": "1.2"}, "minVersion", "above the highest"),
        ({"pinnedPeerCertSha256": "abcd"}, "pinnedPeerCertSha256", "expected a SHA-256 hash"),
        (
            {"pinnedPeerCertificatePublicKeySha256": [BASE64]},
            "pinnedPeerCertificatePublicKeySha256",
            "set the hash of the certificate as 'pinnedPeerCertSha256'",
        ),
        ({"masterKeyLog": "keys.log"}, "masterKeyLog", "never written to a file"),
        ({"echConfigList": "AEX"}, "echConfigList", "(ECH) are not supported"),
        ({"certificates": [{"usage": "issue"}]}, "certificates[0].usage", "are not issued"),
        ({"certificates": [{}]}, "certificates[0].certificateFile", "the path of a PEM file"),
        (
            {"certificates": [{"certificateFile": "c.pem"}]},
            "certificates[0].keyFile",
            "the path of a PEM file",
        ),
        (
            {"certificates": [CERTIFICATES[0] | {"key": KEY}]},
            "certificates[0].key",
            "keep only one of them",
        ),
        (
            {"certificates": [{"certificate": "c.pem", "keyFile": "k"}]},
            "certificates[0].certificate",
            "expected PEM, with -----BEGIN CERTIFICATE-----",
        ),
        ({"alpn": ["ü"]}, "alpn[0]", "not the name of an application protocol"),
    ],
)
def test_a_mistake_is_named(keys, where, message):
    text = json_outbound({"security": "tls", "tlsSettings": keys})
    check_problem(text, "json", f"{WHERE}.{where}", message, 2)


def test_keys_are_not_shown():
    tls = {"certificates": [{"certificate": PEM, "key": KEY}]}
    text = json_inbound({"security": "tls", "tlsSettings": tls})
    assert KEY[1] not in repr(parse_config(text, file=f"{FILE}.json"))
    wrong = {"certificates": [{"certificate": PEM, "key": [KEY[1]]}]}
    text = json_outbound({"security": "tls", "tlsSettings": wrong})
    with pytest.raises(Exception, match="expected PEM") as caught:
        parse_config(text, file=f"{FILE}.json")
    assert KEY[1] not in str(caught.value)
