"""Certificates of an inbound: loaded, reloaded, warned about."""

import datetime
import logging
import time
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.kit.certificates import CertificateFiles, authority, write_certificate
from trio_vmess.config import CertificateSettings, TlsSettings
from trio_vmess.errors import ConfigError
from trio_vmess.node.certificates import CHECK_INTERVAL, InboundCertificates
from trio_vmess.transport.tls.contexts import TlsOptions

NAME = "server.example"


def settings_of(files: CertificateFiles) -> TlsSettings:
    each = CertificateSettings(certificate_file=str(files.certificate), key_file=str(files.key))
    return TlsSettings(certificates=(each,))


def load(settings: TlsSettings, *, now: float | None = None) -> InboundCertificates:
    return InboundCertificates(
        settings,
        TlsOptions(),
        tag="in",
        file="node.toml",
        clock=time.time if now is None else lambda: now,
    )


def test_texts_in_the_configuration(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, NAME)
    inline = CertificateSettings(
        certificate=files.certificate.read_text(), key=files.key.read_text()
    )
    assert load(TlsSettings(certificates=(inline,))).certificates[0].names == [NAME]


def test_the_summary_is_for_people_and_programs(tmp_path: Path) -> None:
    end = datetime.datetime(2030, 6, 1)
    begin = datetime.datetime(2030, 3, 1)
    leaf = authority().issue_cert(NAME, "192.0.2.1", not_before=begin, not_after=end)
    now = end.replace(tzinfo=datetime.UTC).timestamp() - 2.5 * 86_400
    certificates = load(settings_of(write_certificate(tmp_path, NAME, leaf=leaf)), now=now)
    (summary,) = certificates.summary
    assert summary == {
        "inbound": "in",
        "names": [NAME, "192.0.2.1"],
        "issuer": certificates.certificates[0].issuer,
        "validity": "2030-03-01 to 2030-06-01",
        "days": 2,
    }


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, NAME)
    files.key.unlink()
    with pytest.raises(ConfigError, match=r"server\.key: No such file") as caught:
        load(settings_of(files))
    assert caught.value.problems[0].file == "node.toml"


async def test_files_that_change_are_loaded(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = load(settings_of(write_certificate(tmp_path, NAME)))
    before = certificates.context
    async with trio.open_nursery() as nursery:
        await nursery.start(certificates.run)
        await trio.sleep(2.5 * CHECK_INTERVAL)
        assert certificates.context is before
        write_certificate(tmp_path, "renewed.example")
        await trio.sleep(CHECK_INTERVAL)
        nursery.cancel_scope.cancel()
    assert certificates.context is not before
    assert certificates.certificates[0].names == ["renewed.example"]
    assert "tls.reloaded inbound=in" in caplog.text


def test_a_pair_that_does_not_fit_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_certificate(tmp_path, NAME)
    certificates = load(settings_of(files))
    before = certificates.context
    key = files.key.read_text()
    write_certificate(tmp_path, "renewed.example")
    files.key.write_text(key)
    assert not certificates.reload_if_changed()
    assert certificates.context is before
    assert "server.key is not the key of the certificate" in caplog.text
    # Told once, and tried again when the other file follows.
    caplog.clear()
    assert not certificates.reload_if_changed()
    assert not caplog.text
    write_certificate(tmp_path, "renewed.example")
    assert certificates.reload_if_changed()


@pytest.mark.parametrize(("days", "is_told"), [(13, True), (40, False), (-2, True)])
async def test_the_end_is_warned_about_once_a_day(
    tmp_path: Path,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    days: int,
    is_told: bool,
) -> None:
    end = datetime.datetime(2030, 6, 1)
    leaf = authority().issue_cert(NAME, not_after=end)
    files = write_certificate(tmp_path, NAME, leaf=leaf)
    now = end.replace(tzinfo=datetime.UTC).timestamp() - days * 86_400
    certificates = load(settings_of(files), now=now)
    with caplog.at_level(logging.WARNING):
        async with trio.open_nursery() as nursery:
            await nursery.start(certificates.run)
            await trio.sleep(2.5 * 86_400)
            nursery.cancel_scope.cancel()
    assert caplog.text.count("tls.expires inbound=in") == 3 * is_told
    if is_told:
        assert f"days={days}" in caplog.text
