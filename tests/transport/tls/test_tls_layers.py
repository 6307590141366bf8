"""TLS in front of an inbound and around what dials: who is accepted, and what is said otherwise."""

import datetime
import logging
import ssl
from collections.abc import Mapping

import pytest
import trio
import trio.testing
import trustme

from tests.kit.certificates import (
    CertificateFiles,
    authority,
    der_of,
    fingerprint_of,
    issue,
    write_certificate,
)
from tests.kit.remote_ends import memory_pair
from tests.kit.strangers import SOURCE, NotingFallback, told
from trio_vmess.contracts import Fallback, Transport
from trio_vmess.core import Host
from trio_vmess.core.x509 import chain_hash, read_certificate, read_pem
from trio_vmess.errors import DialError
from trio_vmess.transport.tls import TlsBuffers, TlsTransport
from trio_vmess.transport.tls.contexts import KeyPair, TlsOptions, client_context, server_context
from trio_vmess.transport.tls.layers import TlsConnect, TlsIdentity, TlsServer

NAME = "server.example"
BUFFERS = TlsBuffers()
OPTIONS = TlsOptions()
KNOWN = TlsIdentity(server_name=NAME)


class EchoInbound:
    """Sends back what it gets first, and notes how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.names: list[str | None] = []

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        self.calls.append((source, deadline))
        buffer = memoryview(bytearray(100))
        size = await transport.receive_into(buffer)
        await transport.send_all(buffer[:size])
        await transport.aclose()


def pair_of(files: CertificateFiles) -> KeyPair:
    return KeyPair(certificate_file=files.certificate, key_file=files.key)


@pytest.fixture
def files(tmp_path) -> CertificateFiles:
    return write_certificate(tmp_path, NAME)


def root_pem() -> str:
    return authority().cert_pem.bytes().decode()


def trusting(**options) -> ssl.SSLContext:
    return client_context(OPTIONS, roots=[root_pem()], system_roots=False, **options)


async def exchange(
    context: ssl.SSLContext,
    server: ssl.SSLContext,
    *,
    identity: TlsIdentity = KNOWN,
    host: Host = "dialled.example",
    plain: Fallback | None = None,
) -> TlsTransport:
    """Dial an echo server, and return the client's transport when the echo has come back."""
    ours, theirs = memory_pair()
    inbound = EchoInbound()
    front = TlsServer(inbound=inbound, context=lambda: server, buffers=BUFFERS, plain=plain)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: front.serve(theirs, source="192.0.2.1:5000", deadline=trio.current_time() + 8)
        )

        async def connect(_host: Host, _port: int) -> Transport:
            return ours

        dial = TlsConnect(connect=connect, context=context, identity=identity, buffers=BUFFERS)
        transport = await dial(host, 443)
        assert isinstance(transport, TlsTransport)
        await transport.send_all(b"hello")
        buffer = memoryview(bytearray(100))
        assert await transport.receive_into(buffer) == 5
        await transport.aclose()
    assert inbound.calls[0][0] == "192.0.2.1:5000"
    return transport


async def refusal(context: ssl.SSLContext, server: ssl.SSLContext, **kwargs) -> str:
    with pytest.RaisesGroup(pytest.RaisesExc(DialError)) as caught:
        await exchange(context, server, **kwargs)
    (error,) = caught.value.exceptions
    return str(error)


async def test_a_server_that_is_known(files: CertificateFiles) -> None:
    server, certificates = server_context(OPTIONS, [pair_of(files)])
    assert certificates[0].names == [NAME]
    await exchange(trusting(), server)


async def test_the_dialled_name_is_asked_for_by_default(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    await exchange(trusting(), server, identity=TlsIdentity(), host=NAME)
    text = await refusal(trusting(), server, identity=TlsIdentity(), host="dialled.example")
    assert text.startswith("dialled.example:443: TLS with dialled.example: it is for another name")
    assert NAME in text


async def test_an_authority_that_is_unknown(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    text = await refusal(client_context(OPTIONS, system_roots=False), server)
    assert "unknown here" in text
    assert NAME in text


async def test_a_certificate_that_has_expired(tmp_path) -> None:
    first, last = datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 10)
    leaf = authority().issue_cert(NAME, not_before=first, not_after=last)
    server, _ = server_context(OPTIONS, [pair_of(write_certificate(tmp_path, NAME, leaf=leaf))])
    text = await refusal(trusting(), server)
    assert "it has expired" in text
    assert "2020-01-01 to 2020-01-10" in text


async def test_any_certificate_if_nothing_is_verified(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    context = client_context(OPTIONS, verifies_chain=False)
    await exchange(context, server, identity=TlsIdentity(server_name="other.example"))


async def test_other_names_than_the_one_that_is_asked_for(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    context = trusting(verifies_name=False)
    front = TlsIdentity(server_name="front.example", names=["x.example", NAME])
    await exchange(context, server, identity=front)
    wrong = TlsIdentity(server_name="front.example", names=["x.example"])
    assert "none of x.example is a name of" in await refusal(context, server, identity=wrong)


async def test_pinned_certificates(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    context = client_context(OPTIONS, verifies_chain=False)
    pinned = TlsIdentity(server_name="any.example", pins={fingerprint_of(issue(NAME))})
    await exchange(context, server, identity=pinned)
    other = TlsIdentity(server_name=NAME, pins={bytes(32)})
    text = await refusal(context, server, identity=other)
    # What would have to be pinned for this server.
    assert fingerprint_of(issue(NAME)).hex() in text


async def test_a_pinned_authority_vouches_for_names(tmp_path) -> None:
    intermediate = authority().create_child_ca(key_type=trustme.KeyType.ECDSA)
    leaf = intermediate.issue_cert(NAME, key_type=trustme.KeyType.ECDSA)
    server, _ = server_context(OPTIONS, [pair_of(write_certificate(tmp_path, NAME, leaf=leaf))])
    context = client_context(OPTIONS, verifies_chain=False)
    pins = {read_pem(leaf.cert_chain_pems[1].bytes().decode())[0].fingerprint}
    await exchange(context, server, identity=TlsIdentity(server_name=NAME, pins=pins))
    wrong = TlsIdentity(server_name="other.example", pins=pins)
    assert "pinned" in await refusal(context, server, identity=wrong)


async def test_pinned_chains(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    context = client_context(OPTIONS, verifies_chain=False)
    chain = [der_of(issue(NAME))]
    pinned = TlsIdentity(server_name=NAME, chain_pins={chain_hash(chain)})
    await exchange(context, server, identity=pinned)
    wrong = TlsIdentity(server_name=NAME, chain_pins={bytes(32)})
    assert "chain" in await refusal(context, server, identity=wrong)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.example", "a.example"), ("x.wild.example", "*.wild.example"), ("z.example", "a.example")],
)
async def test_a_server_chooses_its_certificate_by_name(tmp_path, name: str, expected: str) -> None:
    pairs = []
    for each in ("a.example", "*.wild.example"):
        folder = tmp_path / each.strip("*.")
        folder.mkdir()
        pairs.append(pair_of(write_certificate(folder, each)))
    server, _ = server_context(OPTIONS, pairs)
    context = client_context(OPTIONS, verifies_chain=False)
    transport = await exchange(context, server, identity=TlsIdentity(server_name=name))
    der = transport.tls.getpeercert(binary_form=True)
    assert der is not None
    assert read_certificate(der).names == [expected]


async def test_unknown_names_can_be_rejected(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)], rejects_unknown_names=True)
    await exchange(trusting(), server)
    context = client_context(OPTIONS, verifies_chain=False)
    text = await refusal(context, server, identity=TlsIdentity(server_name="z.example"))
    assert "unrecognized name" in text


async def test_clients_with_certificates(files: CertificateFiles) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)], client_roots=root_pem())
    await exchange(trusting(pair=pair_of(files)), server)


async def test_application_protocols(files: CertificateFiles) -> None:
    server, _ = server_context(TlsOptions(alpn=["http/1.1"]), [pair_of(files)])
    context = client_context(
        TlsOptions(alpn=["h2", "http/1.1"]), roots=[root_pem()], system_roots=False
    )
    transport = await exchange(context, server)
    assert transport.tls.selected_alpn_protocol() == "http/1.1"


# Strangers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request in the clear"),
        (bytes(100), "it does not begin with TLS"),
    ],
)
async def test_what_is_not_tls(
    files: CertificateFiles, caplog: pytest.LogCaptureFixture, sent: bytes, reason: str
) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    front = TlsServer(inbound=EchoInbound(), context=lambda: server, buffers=BUFFERS)
    ours, theirs = memory_pair()
    await ours.send_all(sent)
    with caplog.at_level(logging.INFO):
        await front.serve(theirs, source="192.0.2.1:5000", deadline=trio.current_time() + 8)
    assert f"tls.refused source=192.0.2.1:5000 reason='{reason}" in caplog.text


async def test_the_handshake_has_the_deadline_of_the_connection(
    files: CertificateFiles,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,
) -> None:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    front = TlsServer(inbound=EchoInbound(), context=lambda: server, buffers=BUFFERS)
    ours, theirs = memory_pair()
    await ours.send_all(b"\x16\x03\x01\x02\x00")
    await front.serve(theirs, source="192.0.2.1:5000", deadline=trio.current_time() + 8)
    assert trio.current_time() == pytest.approx(8)
    assert "handshake deadline" in caplog.text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS on this port"),
        (b"", "ended in the TLS handshake; does the server speak TLS on this port?"),
    ],
)
async def test_servers_that_speak_no_tls(answer: bytes, text: str) -> None:
    ours, theirs = memory_pair()
    await theirs.send_all(answer)
    await theirs.send_eof()

    async def connect(_host: Host, _port: int) -> Transport:
        return ours

    dial = TlsConnect(connect=connect, context=trusting(), identity=TlsIdentity(), buffers=BUFFERS)
    with pytest.raises(DialError, match=text):
        await dial(NAME, 443)


# Files --------------------------------------------------------------------------------------------


def broken(files: CertificateFiles) -> Mapping[str, KeyPair]:
    other = files.certificate.parent / "other"
    other.mkdir()
    (other / "text").write_text("no PEM")
    another = write_certificate(other, "other.example")
    return {
        "is not the key of the certificate": KeyPair(
            certificate_file=files.certificate, key_file=another.key
        ),
        "not a PEM certificate": KeyPair(certificate_file=other / "text", key_file=files.key),
        "not a PEM key": KeyPair(certificate_file=files.certificate, key_file=other / "text"),
        "No such file": KeyPair(certificate_file=other / "none", key_file=files.key),
    }


def test_files_that_do_not_fit_are_named(files: CertificateFiles) -> None:
    for text, pair in broken(files).items():
        with pytest.raises(ValueError, match=text) as caught:
            server_context(OPTIONS, [pair])
        assert pair.is_named_in(str(caught.value))


# Without TLS ------------------------------------------------------------------------------------


def front_with(files: CertificateFiles, plain: Fallback) -> TlsServer:
    server, _ = server_context(OPTIONS, [pair_of(files)])
    return TlsServer(inbound=EchoInbound(), context=lambda: server, buffers=BUFFERS, plain=plain)


@pytest.mark.parametrize("step", [0, 1])
async def test_who_comes_without_tls_is_handed_over(files: CertificateFiles, step: int) -> None:
    plain = NotingFallback()
    front = front_with(files, plain)
    wire = b"GET / HTTP/1.1\r\n\r\n"

    async def serve(transport: Transport) -> None:
        await front.serve(transport, source=SOURCE, deadline=trio.current_time() + 8)

    assert await told(serve, wire, step=step) == plain.answer
    ((received, source, _),) = plain.calls
    assert received + plain.rest == wire
    assert source == SOURCE


@pytest.mark.parametrize("wire", [b"", b"\x16", b"\x16\x03\x01\x00\x00", b"\x80\x2e\x01"])
async def test_a_broken_handshake_is_not_handed_over(files: CertificateFiles, wire: bytes) -> None:
    plain = NotingFallback()
    front = front_with(files, plain)

    async def serve(transport: Transport) -> None:
        await front.serve(transport, source=SOURCE, deadline=trio.current_time() + 8)

    assert not (await told(serve, wire)).startswith(b"HTTP")
    assert plain.calls == []


async def test_the_answer_in_the_clear_has_the_deadline_of_the_handshake(
    files: CertificateFiles, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = memory_pair()
    front = front_with(files, NotingFallback())
    await ours.send_all(b"GET")
    await front.serve(theirs, source=SOURCE, deadline=8.0)
    assert trio.current_time() == 8.0


async def test_tls_goes_on_beside_it(files: CertificateFiles) -> None:
    plain = NotingFallback()
    server, _ = server_context(OPTIONS, [pair_of(files)])
    await exchange(trusting(), server, plain=plain)
    assert plain.calls == []
