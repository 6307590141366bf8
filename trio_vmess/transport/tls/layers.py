"""TLS as a layer: in front of an inbound, and around what dials servers."""

import logging
import ssl
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol, cast

import attrs
import trio

from trio_vmess.contracts import Connect, Fallback, Inbound, Transport
from trio_vmess.core import Host, format_endpoint
from trio_vmess.core.x509 import (
    Certificate,
    chain_hash,
    fingerprint,
    is_vouched_for,
    read_certificate,
)
from trio_vmess.errors import DialError, DialFailure
from trio_vmess.transport.tls.connection import PIECE, TlsBuffers, TlsTransport, reason_of

log: Final = logging.getLogger("trio_vmess.transport.tls")

SESSION_LIFETIME: Final = 3600.0
"""Seconds after which a session to resume is replaced; copying one out of OpenSSL takes 0.1 ms."""

_DER: Final = 2
"""`ENCODING_DER` of the `_ssl` module."""

_NO_TLS: Final = "WRONG_VERSION_NUMBER"

_HINTS: Final = {
    "HTTP_REQUEST": "an HTTP request in the clear",
    _NO_TLS: "it does not begin with TLS; is TLS off at the client?",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not accept our certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not know who has issued our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that our certificate has expired",
    "NO_SHARED_CIPHER": "client and server have no cipher in common",
    "UNSUPPORTED_PROTOCOL": "the client's TLS version is not among ours",
}


@attrs.frozen(eq=False, kw_only=True)
class TlsServer:
    """Takes TLS off the connections of an inbound: an `Inbound`.

    Attributes:
        inbound: gets what is inside.
        context: returns the context for the next connection; certificates may be replaced.
        buffers: shared by all TLS connections of this Trio run.
        plain: answers clients that begin with something else than TLS; None closes them.
    """

    inbound: Inbound
    context: Callable[[], ssl.SSLContext]
    buffers: TlsBuffers
    plain: Fallback | None = None

    async def serve(self, transport: Transport, *, source: str, deadline: float) -> None:
        """See `Inbound.serve`."""
        if self.plain is None:
            await self._serve_inside(transport, source, deadline, b"")
            return
        try:
            begin = await self._read_beginning(self.plain, transport, source, deadline)
        except BaseException:
            await transport.aclose()
            raise
        if begin:
            await self._serve_inside(transport, source, deadline, begin)
        else:
            await transport.aclose()

    async def _read_beginning(
        self, plain: Fallback, transport: Transport, source: str, deadline: float
    ) -> bytes:
        """Read the first bytes of a handshake; nothing if the connection is served to its end."""
        buffer = self.buffers.received[:PIECE]
        with trio.move_on_at(deadline):
            try:
                size = await transport.receive_into(buffer)
            except trio.BrokenResourceError as exc:
                log.debug("tls.reset source=%s reason=%r", source, str(exc))
                return b""
            begin = bytes(buffer[:size])
            if not begin or _begins_tls(begin[0]):
                return begin
            log.warning("tls.refused source=%s reason=%r", source, _HINTS[_NO_TLS])
            await plain.serve(transport, received=begin, source=source)
        return b""

    async def _serve_inside(
        self, transport: Transport, source: str, deadline: float, begin: bytes
    ) -> None:
        """Shake hands, and let the inbound serve what is inside.

        Args:
            transport: the client's connection.
            source: see `Inbound.serve`.
            deadline: see `Inbound.serve`.
            begin: what has been read of the handshake.
        """
        inside = TlsTransport(transport, self.context(), buffers=self.buffers)
        fault = "no complete TLS handshake before the handshake deadline"
        try:
            with trio.move_on_at(deadline) as limit:
                await inside.handshake(begin)
        except ssl.SSLError as exc:
            fault = _HINTS.get(exc.reason or "", reason_of(exc))
        except trio.BrokenResourceError as exc:
            log.debug("tls.reset source=%s reason=%r", source, str(exc))
            await transport.aclose()
            return
        except BaseException:
            await transport.aclose()
            raise
        else:
            if not limit.cancelled_caught:
                await self.inbound.serve(inside, source=source, deadline=deadline)
                return
        log.warning("tls.refused source=%s reason=%r", source, fault)
        await transport.aclose()


def _begins_tls(first: int) -> bool:
    """Tell whether nginx takes this for the first byte of a handshake: TLS, or that of SSL 2."""
    return first == 0x16 or bool(first & 0x80)


@attrs.frozen(kw_only=True)
class TlsIdentity:
    """Which server is accepted.

    Attributes:
        server_name: sent to the server, and a name of its certificate; empty for the dialled host.
        names: names one of which the certificate must have instead; empty for `server_name`.
        pins: SHA-256 hashes of certificates: the server's own must be among them, and then its
            names and dates do not matter, or that of the authority that vouches for it. Empty for
            no such condition.
        chain_pins: hashes of whole chains, likewise; see `chain_hash`.
    """

    server_name: str = ""
    names: Sequence[str] = ()
    pins: Collection[bytes] = ()
    chain_pins: Collection[bytes] = ()

    def fault_of(self, tls: ssl.SSLObject, name: str) -> str:
        """Say what is wrong with the server's certificate; empty if nothing is.

        Args:
            tls: the connection.
            name: what the server was asked for.
        """
        der = tls.getpeercert(binary_form=True) or b""
        if self.pins and not self._is_pinned(_chain_of(tls), name):
            return f"no pinned hash is that of {read_certificate(der)}: {fingerprint(der).hex()}"
        if self.chain_pins and chain_hash(_chain_of(tls)) not in self.chain_pins:
            return "no pinned hash is that of the server's chain of certificates"
        if self.names:
            certificate = read_certificate(der)
            if not any(map(certificate.is_for, self.names)):
                return f"none of {', '.join(self.names)} is a name of {certificate}"
        return ""

    def _is_pinned(self, chain: Sequence[bytes], name: str) -> bool:
        if fingerprint(chain[0]) in self.pins:
            return True
        pinned = [each for each in chain[1:] if fingerprint(each) in self.pins]
        return any(is_vouched_for(chain, each, name) for each in pinned)


@attrs.define(eq=False, kw_only=True)
class TlsConnect:
    """Dials servers and starts TLS with them: a `Connect`.

    Attributes:
        connect: dials.
        context: verifies certificates by roots, and by names unless the identity does.
        identity: which server is accepted.
        buffers: shared by all TLS connections of this Trio run.
        resumes: whether to resume sessions, which saves the server its signature.
        sends_next: whether the layer above sends at once; see `TlsTransport.handshake`.
    """

    connect: Connect
    context: ssl.SSLContext
    identity: TlsIdentity
    buffers: TlsBuffers
    resumes: bool = False
    sends_next: bool = False
    _sessions: dict[str, tuple[ssl.SSLSession, float]] = attrs.field(
        factory=dict[str, tuple[ssl.SSLSession, float]], init=False
    )

    async def __call__(self, host: Host, port: int) -> Transport:
        """Dial; see `Connect`.

        Raises:
            DialError: the server cannot be reached, or is not the one that is wanted.
        """
        name = self.identity.server_name or str(host)
        transport = await self.connect(host, port)
        try:
            inside = TlsTransport(
                transport,
                self.context,
                server_name=name,
                session=self._session(name),
                buffers=self.buffers,
                on_close=(lambda tls: self._keep_session(name, tls)) if self.resumes else None,
            )
            fault = await self._handshake(inside, name)
        except BaseException:
            await transport.abort()
            raise
        if not fault:
            return inside
        await transport.aclose()
        raise DialError(
            f"{format_endpoint(host, port)}: TLS with {name}: {fault}",
            reason=DialFailure.PARENT_PROXY,
        )

    async def _handshake(self, inside: TlsTransport, name: str) -> str:
        """Shake hands; say what is wrong, or nothing."""
        try:
            await inside.handshake(sends_next=self.sends_next)
        except ssl.SSLCertVerificationError as exc:
            return _explain(exc, inside.tls)
        except ssl.SSLError as exc:
            if exc.reason == "WRONG_VERSION_NUMBER":
                return "the server does not speak TLS on this port"
            return reason_of(exc)
        except trio.BrokenResourceError as exc:
            return f"{exc}; does the server speak TLS on this port?"
        return self.identity.fault_of(inside.tls, name)

    def _session(self, name: str) -> ssl.SSLSession | None:
        session, _ = self._sessions.get(name, (None, 0.0))
        return session

    def _keep_session(self, name: str, tls: ssl.SSLObject) -> None:
        _, since = self._sessions.get(name, (None, -SESSION_LIFETIME))
        now = trio.current_time()
        is_old = now - since >= SESSION_LIFETIME
        # At the end of a connection, because the server's tickets come after the handshake.
        if (is_old or not tls.session_reused) and (session := tls.session) is not None:
            self._sessions[name] = session, now


class _ParsedCertificate(Protocol):
    def public_bytes(self, encoding: int, /) -> bytes: ...


class _ChainHolder(Protocol):
    def get_unverified_chain(self) -> Sequence[bytes | _ParsedCertificate] | None: ...


def _chain_of(tls: ssl.SSLObject) -> Sequence[bytes]:
    """Return the certificates that a server has sent, verified or not, in DER."""
    # Public from Python 3.13 on; before that, only the object below has the method.
    holder = tls if hasattr(tls, "get_unverified_chain") else vars(tls)["_sslobj"]
    found = cast("_ChainHolder", holder).get_unverified_chain() or ()
    return [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in found]


def _explain(exc: ssl.SSLCertVerificationError, tls: ssl.SSLObject) -> str:
    """Say which check a certificate has failed, and what it says."""
    try:
        chain = [read_certificate(each) for each in _chain_of(tls)]
    except ValueError:
        return exc.verify_message
    if not chain:
        return exc.verify_message
    return f"{_fault(exc, chain)} ({chain[0]}, valid {chain[0].validity})"


def _fault(exc: ssl.SSLCertVerificationError, chain: Sequence[Certificate]) -> str:
    # Codes: x509_vfy.h of OpenSSL.
    match exc.verify_code:
        case 9:
            return "it is not valid yet; check this machine's clock"
        case 10:
            return "it has expired; if not, check this machine's clock"
        case 18:
            return "it is self-signed; make it a root, or pin its hash, if that is intended"
        case 20 | 21 if len(chain) == 1:
            return (
                "its issuer is unknown here, or the server leaves out the intermediate certificate "
                "between them"
            )
        case 19 | 20 | 21:
            return "it was issued by an authority that is unknown here"
        case 62 | 64:
            return "it is for another name; `server_name` says which one to ask for"
        case _:
            return exc.verify_message
