"""What comes through a server that accepts us: requests, datagrams, mux, and how fast."""

from typing import Final

import attrs

from trio_vmess.core import IPAddress, format_endpoint
from trio_vmess.diagnosis.doctor import causes
from trio_vmess.diagnosis.doctor.greetings import Language, language_of, status_of
from trio_vmess.diagnosis.doctor.report import Cause, Report, State, StepName
from trio_vmess.diagnosis.doctor.subject import Subject
from trio_vmess.diagnosis.doctor.target import Target
from trio_vmess.diagnosis.doctor.trials import Trial, try_download, try_name, try_request
from trio_vmess.node import OutboundLayer

_ANY_NAME: Final = "example.com"
_MEGABYTE: Final = 1_000_000


@attrs.frozen(eq=False, kw_only=True)
class Passage:
    """The steps behind a server.

    Attributes:
        subject: whom they are about.
        report: where their results go.
        target: what is requested.
        single: the connection on which that was done.
    """

    subject: Subject
    report: Report
    target: Target
    single: Trial

    def judge_request(self) -> None:
        """Say what has become of the request."""
        target = str(self.target)
        if self.single.answer:
            shown = f"{len(self.single.answer)} bytes"
            if language_of(self.single.answer) is Language.HTTP:
                shown = status_of(self.single.answer)
            self.report.note(StepName.REQUEST, State.OK, f"{target} answered: {shown}")
        else:
            ending = self.subject.ending(self.single.observation.taps[-1])
            # Some servers pass on an end where they have not reached anything.
            is_ended = self.single.is_ended
            shown = "ended without an answer" if is_ended else str(ending)
            is_silent = not is_ended and ending.end is None
            found = causes.causes_of_request(target, is_silent=is_silent)
            self.report.fail(StepName.REQUEST, f"{target}: {shown}", found)

    async def examine_udp(self, name_server: tuple[IPAddress, int]) -> None:
        """Send a query to a name server by UDP."""
        host, port = name_server
        server = format_endpoint(host, port)
        wanted = self.target.destination.host
        name = wanted if isinstance(wanted, str) else _ANY_NAME
        trial, answer = await try_name(self.subject.means, self.subject.shared, (host, port), name)
        if answer is not None:
            found = ", ".join(map(str, answer.addresses))
            shown = f"is {found}" if found else "has no IPv4 address"
            self.report.note(StepName.UDP, State.OK, f"{server} answered: {name} {shown}")
        elif trial.answer:
            self.report.note(StepName.UDP, State.OK, f"{server} answered: {trial.fault}")
        else:
            shown = trial.fault or f"no answer in {self.subject.means.limit:g} s"
            self.report.fail(StepName.UDP, f"{server}: {shown}", causes.causes_of_udp(server))

    async def examine_mux(self) -> None:
        """Send the request on a shared connection, if the outbound shares any."""
        if not self.subject.shared.mux.carries_streams:
            self.report.note(StepName.MUX, State.UNUSED, "not configured")
            return
        if not self.single.answer:
            self.report.note(StepName.MUX, State.SKIPPED)
            return
        target = self.target
        trial = await try_request(
            self.subject.means, self.subject.shared, target.destination, target.request
        )
        if trial.answer:
            self.report.note(StepName.MUX, State.OK, f"{target} answered on a shared connection")
        else:
            shown = trial.fault or f"no answer in {self.subject.means.limit:g} s"
            self.report.fail(StepName.MUX, shown, causes.causes_of_mux())

    def split_latency(self) -> None:
        """Say which part of the connection has taken how long."""
        if not self.single.answer:
            return
        observation = self.single.observation
        parts: dict[str, float] = {}
        names = ("tcp", "tls", "transport")
        for layer, name in zip(OutboundLayer, names, strict=True):
            if (seconds := observation.seconds_of(layer)) is not None:
                parts[name] = seconds
        parts["first_byte"] = self.single.answered_at - observation.began_at - sum(parts.values())
        self.report.seconds = parts
        words = {"tcp": "TCP", "tls": "TLS", "first_byte": "first byte"}
        shown = [f"{words.get(name, name)} {each * 1000:.1f} ms" for name, each in parts.items()]
        self.report.note(StepName.LATENCY, State.OK, ", ".join(shown))

    async def measure_throughput(self, download: Target | None) -> None:
        """Download something, if that is asked for."""
        if download is None:
            self.report.note(StepName.THROUGHPUT, State.UNUSED, "not asked for")
            return
        if not self.single.answer:
            return
        trial, size, seconds = await try_download(
            self.subject.means, self.subject.shared, download.destination, download.request
        )
        if size and seconds:
            self.report.note(
                StepName.THROUGHPUT,
                State.OK,
                f"{size / seconds / _MEGABYTE:.2f} MB/s: {size / _MEGABYTE:.1f} MB in "
                f"{seconds:.1f} s from {download}",
            )
            return
        if trial.answer:
            shown = f"{download} sent too little to measure: {status_of(trial.answer)}"
            self.report.note(StepName.THROUGHPUT, State.WARNING, shown)
            return
        shown = trial.fault or f"no answer in {self.subject.means.limit:g} s"
        found = [Cause(f"{download} brings nothing", "try another URL for --throughput")]
        self.report.fail(StepName.THROUGHPUT, f"{download}: {shown}", found)
