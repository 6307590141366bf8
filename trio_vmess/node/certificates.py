"""The certificates of an inbound: loaded at start, and again when their files have changed."""

import contextlib
import logging
import ssl
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from trio_vmess.config import CertificateSettings, TlsSettings, locate
from trio_vmess.core.x509 import Certificate
from trio_vmess.errors import ConfigError
from trio_vmess.transport.tls import KeyPair, TlsOptions, server_context

log: Final = logging.getLogger("trio_vmess.node.certificates")

CHECK_INTERVAL: Final = 60.0
"""Seconds between two looks at the files."""

WARNING_DAYS: Final = 14
"""From so many days before its end on, a certificate is warned about, once a day."""

_DAY: Final = 86_400.0

_FileState = tuple[int, int, int, int]


class CertificateFault(Exception):  # noqa: N818 (an internal signal: the node reports it)
    """A certificate cannot be used.

    Attributes:
        settings: which one; None for those of the authorities of clients.
    """

    def __init__(self, message: str, settings: CertificateSettings | None) -> None:
        super().__init__(message)
        self.settings = settings


class InboundCertificates:
    """Our certificates for one inbound: a `Service` that keeps them fresh.

    Args:
        settings: of the inbound's TLS, with at least one certificate.
        options: versions and protocols.
        tag: the inbound's name, for the log.
        file: the name of the configuration file.
        clock: returns UTC seconds.

    Raises:
        ConfigError: a file cannot be used.
    """

    def __init__(
        self,
        settings: TlsSettings,
        options: TlsOptions,
        *,
        tag: str,
        file: str,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._options = options
        self._tag = tag
        self._clock = clock
        self._files = [
            name
            for each in (*settings.certificates, *settings.client_roots)
            for name in (each.certificate_file, each.key_file)
            if name
        ]
        self._states = self._look()
        try:
            self._context, self._certificates = self._load()
        except CertificateFault as exc:
            locations = settings.locations if exc.settings is None else exc.settings.locations
            key = "certificates" if exc.settings is None else "certificate_file"
            raise ConfigError(locate(locations, key, "tls").problem(str(exc), file=file)) from None

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self._context

    @property
    def certificates(self) -> Sequence[Certificate]:
        """Those in use, in the order of the settings."""
        return self._certificates

    @property
    def summary(self) -> Sequence[Mapping[str, object]]:
        """Those in use, as the control socket and `check` show them."""
        now = self._clock()
        return [
            {
                "inbound": self._tag,
                "names": [*each.names, *map(str, each.addresses)],
                "issuer": each.issuer,
                "validity": each.validity,
                "days": each.days_left(now),
            }
            for each in self._certificates
        ]

    def expiring(self) -> Sequence[tuple[Certificate, int]]:
        """Return the certificates that end soon, with the days that are left; negative if over."""
        now = self._clock()
        return [
            (each, days)
            for each in self._certificates
            if (days := each.days_left(now)) <= WARNING_DAYS
        ]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at the files until cancelled; see `Service.run`."""
        task_status.started()
        next_warning = trio.current_time()
        while True:
            if trio.current_time() >= next_warning:
                self._warn()
                next_warning += _DAY
            await trio.sleep(CHECK_INTERVAL)
            self.reload_if_changed()

    def reload_if_changed(self) -> bool:
        """Load the certificates again if a file has changed; those that do not fit change nothing.

        Returns:
            Whether new ones are in use.
        """
        states = self._look()
        if states == self._states:
            return False
        # Also if it fails: a file that is half written changes again when it is complete.
        self._states = states
        try:
            self._context, self._certificates = self._load()
        except CertificateFault as exc:
            log.error(
                "tls.not_reloaded inbound=%s reason=%r hint=%r",
                self._tag or "-",
                str(exc),
                "the certificates that were loaded before stay in use",
            )
            return False
        for each in self._certificates:
            log.warning(
                "tls.reloaded inbound=%s certificate=%r valid=%r",
                self._tag or "-",
                str(each),
                each.validity,
            )
        self._warn()
        return True

    def _warn(self) -> None:
        for certificate, days in self.expiring():
            log.warning(
                "tls.expires inbound=%s certificate=%r days=%d", self._tag or "-", certificate, days
            )

    def _load(self) -> tuple[ssl.SSLContext, Sequence[Certificate]]:
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(key_pair(each)) for each in self._settings.certificates]
            by_pair = dict(zip(pairs, self._settings.certificates, strict=True))
            try:
                roots = None
                if self._settings.verify_client_certificate:
                    roots = "\n".join(map(read_root, self._settings.client_roots))
                return server_context(
                    self._options,
                    pairs,
                    client_roots=roots,
                    rejects_unknown_names=self._settings.reject_unknown_sni,
                )
            except ValueError as exc:
                # The text names the file.
                culprit = next(
                    (by_pair[each] for each in pairs if each.is_named_in(str(exc))), None
                )
                raise CertificateFault(str(exc), culprit) from None

    def _look(self) -> Sequence[_FileState | None]:
        """Return what tells a changed file, for each file; a link that points elsewhere is one."""
        return [_state_of(name) for name in self._files]


def _state_of(name: str) -> _FileState | None:
    try:
        stat = Path(name).stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


@contextlib.contextmanager
def key_pair(settings: CertificateSettings) -> Generator[KeyPair]:
    """Give a certificate and its key as files: OpenSSL, as Python has it, takes nothing else."""
    if settings.certificate_file:
        yield KeyPair(
            certificate_file=Path(settings.certificate_file), key_file=Path(settings.key_file)
        )
        return
    # Nobody else can open the folder.
    with tempfile.TemporaryDirectory(prefix="trio-vmess-") as folder:
        pair = KeyPair(
            certificate_file=Path(folder, "certificate.pem"), key_file=Path(folder, "key.pem")
        )
        pair.certificate_file.write_text(settings.certificate)
        pair.key_file.write_text(settings.key)
        yield pair


def read_root(settings: CertificateSettings) -> str:
    """Return the PEM text of an authority.

    Raises:
        ValueError: its file cannot be read.
    """
    if not settings.certificate_file:
        return settings.certificate
    try:
        return Path(settings.certificate_file).read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"{settings.certificate_file}: {exc}") from None
