"""Builds the `ssl.SSLContext`s of servers and clients."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import attrs

from trio_vmess.core.x509 import Certificate, read_pem


@attrs.frozen(kw_only=True)
class TlsOptions:
    """What servers and clients have in common.

    Attributes:
        alpn: the application protocols to offer; a server takes the first that the client knows.
        minimum: the oldest version; None for the library's choice.
        maximum: the latest version, likewise.
        resumes: whether sessions can be resumed.
    """

    alpn: Sequence[str] = ()
    minimum: ssl.TLSVersion | None = None
    maximum: ssl.TLSVersion | None = None
    resumes: bool = False

    def apply(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Set the options of a context, and return it."""
        if self.minimum is not None:
            context.minimum_version = self.minimum
        if self.maximum is not None:
            context.maximum_version = self.maximum
        if self.alpn:
            context.set_alpn_protocols(list(self.alpn))
        if not self.resumes:
            context.options |= ssl.OP_NO_TICKET
        return context


@attrs.frozen(kw_only=True)
class KeyPair:
    """A certificate with its key.

    Attributes:
        certificate_file: PEM; those that vouch for it follow it.
        key_file: PEM, without a password.
    """

    certificate_file: Path
    key_file: Path

    def is_named_in(self, text: str) -> bool:
        """Return whether a message is about one of the files."""
        return str(self.certificate_file) in text or str(self.key_file) in text

    def load(self, context: ssl.SSLContext) -> Certificate:
        """Load both into a context; return the certificate.

        Raises:
            ValueError: what is wrong with which file.
        """
        for path in (self.certificate_file, self.key_file):
            try:
                path.read_bytes()
            except OSError as exc:
                raise ValueError(f"{path}: {exc.strerror or exc}") from None
        try:
            found = read_pem(self.certificate_file.read_text())
        except ValueError as exc:
            raise ValueError(f"{self.certificate_file}: not a PEM certificate ({exc})") from None
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.certificate_file, self.key_file, password="")
        except ssl.SSLError as exc:
            if exc.reason == "KEY_VALUES_MISMATCH":
                raise ValueError(
                    f"{self.key_file} is not the key of the certificate in {self.certificate_file}"
                ) from None
            raise ValueError(
                f"{self.key_file}: not a PEM key that can be used without a password"
            ) from None
        return found[0]


def server_context(
    options: TlsOptions,
    pairs: Sequence[KeyPair],
    *,
    client_roots: str | None = None,
    rejects_unknown_names: bool = False,
) -> tuple[ssl.SSLContext, Sequence[Certificate]]:
    """Build the context of a server.

    Args:
        options: versions and protocols.
        pairs: at least one; the first certificate whose names match what the client asks for is
            used, or the first of all.
        client_roots: PEM; the authorities that clients' certificates are checked against. None
            does not ask for any.
        rejects_unknown_names: fail handshakes for names that no certificate has.

    Returns:
        The context, and the certificates in the order of their pairs.

    Raises:
        ValueError: what is wrong with which file.
    """
    if not pairs:
        raise ValueError("a TLS server needs a certificate and its key")
    contexts: list[tuple[Certificate, ssl.SSLContext]] = []
    for pair in pairs:
        context = options.apply(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        # Clients in Go know which cipher their processor is best at, and OpenSSL would insist on
        # AES-256. All that it offers by default is strong.
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if not options.resumes:
            context.num_tickets = 0
        if client_roots is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client_roots)
        contexts.append((pair.load(context), context))

    def choose(tls: ssl.SSLObject, name: str | None, _initial: ssl.SSLContext) -> int | None:
        for certificate, context in contexts:
            if name is not None and certificate.is_for(name):
                tls.context = context
                return None
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if rejects_unknown_names else None

    first = contexts[0][1]
    if len(contexts) > 1 or rejects_unknown_names:
        first.sni_callback = choose
    return first, [certificate for certificate, _ in contexts]


def client_context(
    options: TlsOptions,
    *,
    roots: Sequence[str] = (),
    system_roots: bool = True,
    verifies_chain: bool = True,
    verifies_name: bool = True,
    pair: KeyPair | None = None,
) -> ssl.SSLContext:
    """Build the context of a client.

    Args:
        options: versions and protocols.
        roots: authorities to trust, as PEM texts.
        system_roots: whether to trust those of the system, too.
        verifies_chain: whether the server's certificate must lead to a root.
        verifies_name: whether it must have the server's name.
        pair: the client's own certificate; None for none.

    Raises:
        ValueError: what is wrong with which root or file.
    """
    context = options.apply(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = verifies_name and verifies_chain
    context.verify_mode = ssl.CERT_REQUIRED if verifies_chain else ssl.CERT_NONE
    if system_roots and verifies_chain:
        context.load_default_certs()
    for root in roots:
        try:
            context.load_verify_locations(cadata=root)
        except ssl.SSLError as exc:
            raise ValueError(f"a root is not a PEM certificate ({exc.reason or exc})") from None
    if pair is not None:
        pair.load(context)
    return context
