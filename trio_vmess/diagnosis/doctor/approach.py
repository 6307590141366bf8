"""The way to a server, step by step: its name, TCP, TLS, and what carries VMess."""

from typing import Final, assert_never

import attrs
import trio

from trio_vmess.config import (
    GrpcSettings,
    Http2Settings,
    HttpUpgradeSettings,
    TcpSettings,
    WebSocketSettings,
)
from trio_vmess.core import IPAddress, format_endpoint
from trio_vmess.core.x509 import read_certificate
from trio_vmess.diagnosis.doctor import causes
from trio_vmess.diagnosis.doctor.greetings import UNKNOWN, Language, language_of
from trio_vmess.diagnosis.doctor.observation import LayerRecord
from trio_vmess.diagnosis.doctor.report import Report, State, StepName
from trio_vmess.diagnosis.doctor.subject import Subject
from trio_vmess.diagnosis.doctor.trials import Trial
from trio_vmess.errors import DialError
from trio_vmess.node import OutboundLayer

EXPIRY_WARNING: Final = 14
"""Days before the end of a certificate from which that is worth a word."""

_REFUSALS: Final = ("the server answered", "the server ended the call")
"""How carriers that open streams begin to say that a server has refused one."""


@attrs.frozen(eq=False)
class Approach:
    """The steps to a server; each says whether the next one makes sense.

    Attributes:
        subject: whom they are about.
        report: where their results go.
    """

    subject: Subject
    report: Report

    async def examine_name(self) -> bool:
        """Find the addresses of the server."""
        host = self.subject.server.address
        if self.subject.stream.unix is not None or not isinstance(host, str):
            shown = (
                "a Unix socket" if self.subject.stream.unix is not None else f"{host} is an address"
            )
            self.report.note(StepName.NAME, State.UNUSED, shown)
            return True
        fault = f"no answer in {self.subject.means.limit:g} s"
        found: list[IPAddress] = []
        with trio.move_on_after(self.subject.means.limit):
            try:
                found = await self.subject.means.resolve(host, trio.socket.AF_UNSPEC)
            except DialError as exc:
                fault = str(exc)
        if not found:
            return self.report.fail(StepName.NAME, fault, causes.causes_of_name(host))
        self.report.note(StepName.NAME, State.OK, f"{host} is {', '.join(map(str, found))}")
        return True

    async def examine_layers(self, trial: Trial) -> bool:
        """Say how far a connection has come."""
        observation = trial.observation
        failed = observation.failed_layer
        for layer in OutboundLayer:
            record = observation.record(layer)
            if record is None:
                self._note_unused(layer)
            elif layer is failed or (layer is OutboundLayer.CARRIER and self._is_refused(trial)):
                return await self._explain_layer(layer, record, trial)
            else:
                self._note_ready(layer, record, trial)
        return True

    def _note_unused(self, layer: OutboundLayer) -> None:
        name = StepName.TLS if layer is OutboundLayer.TLS else StepName.TRANSPORT
        self.report.note(name, State.UNUSED, "not configured")

    def _note_ready(self, layer: OutboundLayer, record: LayerRecord, trial: Trial) -> None:
        match layer:
            case OutboundLayer.SOCKET:
                remote = record.remote
                shown = format_endpoint(remote.host, remote.port) if remote else self.subject.name
                self.report.note(StepName.TCP, State.OK, f"connected to {shown}")
            case OutboundLayer.TLS:
                self._note_tls(record)
            case OutboundLayer.CARRIER:
                below = trial.observation.taps[-2]
                is_open = language_of(bytes(below.head)) is not Language.NOTHING
                shown = "open" if is_open else "answered with the first data"
                self.report.note(
                    StepName.TRANSPORT, State.OK, f"{self.subject.carrier_name}: {shown}"
                )
            case _ as never:
                assert_never(never)

    def _note_tls(self, record: LayerRecord) -> None:
        tls, settings = record.tls, self.subject.stream.tls
        if tls is None or settings is None:
            raise TypeError("the layer of TLS has no TLS")
        shown = [tls.version() or "TLS"]
        if (alpn := tls.selected_alpn_protocol()) is not None:
            shown.append(alpn)
        state = State.OK
        der = tls.getpeercert(binary_form=True)
        if der:
            certificate = read_certificate(der)
            days = certificate.days_left(self.subject.means.clock())
            shown += [str(certificate), f"valid {certificate.validity}, {days} days left"]
            if days < EXPIRY_WARNING:
                state = State.WARNING
        if settings.allow_insecure:
            shown.append("not verified (allow_insecure)")
        self.report.note(StepName.TLS, state, ", ".join(shown))

    def _is_refused(self, trial: Trial) -> bool:
        """Tell whether a carrier that sends its request with the first bytes has failed."""
        taps = trial.observation.taps
        record = trial.observation.record(OutboundLayer.CARRIER)
        if record is None or record.tap is None or trial.is_authenticated:
            return False
        below = bytes(taps[-2].head)
        match self.subject.stream.carrier:
            case Http2Settings() | GrpcSettings():
                is_answered = record.tap.fault.startswith(_REFUSALS)
                return is_answered or language_of(below) is not Language.HTTP_2
            case TcpSettings():
                is_http = language_of(below) is Language.HTTP
                return is_http and below.partition(b" ")[2][:1] in (b"3", b"4", b"5")
            case WebSocketSettings() | HttpUpgradeSettings():
                return b" 101" not in below.partition(b"\r\n")[0]
            case _ as never:
                assert_never(never)

    async def _explain_layer(self, layer: OutboundLayer, record: LayerRecord, trial: Trial) -> bool:
        match layer:
            case OutboundLayer.SOCKET:
                detail = record.fault or f"no answer in {self.subject.means.limit:g} s"
                found = causes.causes_of_dial(record.reason, self.subject.name)
                return self.report.fail(StepName.TCP, detail, found)
            case OutboundLayer.TLS:
                return await self._explain_tls(record, trial)
            case OutboundLayer.CARRIER:
                return await self._explain_carrier(record, trial)
            case _ as never:
                assert_never(never)

    async def _explain_tls(self, record: LayerRecord, trial: Trial) -> bool:
        ending = self.subject.ending(trial.observation.taps[0])
        fault = self.subject.without_name(record.fault)
        plain = UNKNOWN
        if language_of(ending.head) is not Language.TLS:
            plain = await self.subject.greet_http(has_tls=False)
        found = causes.causes_of_tls(ending, fault, plain)
        return self.report.fail(StepName.TLS, fault or str(ending), found)

    async def _explain_carrier(self, record: LayerRecord, trial: Trial) -> bool:
        is_ready = record.ready_at is not None
        taps = trial.observation.taps
        below = taps[-2] if is_ready else taps[-1]
        ending = self.subject.ending(below)
        fault = self.subject.without_name(record.fault) or trial.fault
        tls = await self.subject.greet_tls() if not ending.head else UNKNOWN
        found = causes.causes_of_carrier(self.subject.carrier_name, ending, fault, tls)
        shown = fault if fault and ending.head else str(ending)
        return self.report.fail(StepName.TRANSPORT, f"{self.subject.carrier_name}: {shown}", found)
