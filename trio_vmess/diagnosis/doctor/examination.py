"""Why a VMess server cannot be used: connects to it step by step, as a node does.

Each step begins where the one before it has ended. Where one fails, the port is asked a few things
more, and `causes` says what fits all that was seen. The server needs nothing but a node.
"""

from collections.abc import Callable

import attrs

from trio_vmess.config import OutboundSettings
from trio_vmess.contracts import Resolve
from trio_vmess.core import IPAddress
from trio_vmess.diagnosis.doctor.admission import Admission
from trio_vmess.diagnosis.doctor.approach import Approach
from trio_vmess.diagnosis.doctor.passage import Passage
from trio_vmess.diagnosis.doctor.report import Cause, Report, State, StepName
from trio_vmess.diagnosis.doctor.subject import Subject
from trio_vmess.diagnosis.doctor.target import Target
from trio_vmess.diagnosis.doctor.trials import Means, check_settings, try_request
from trio_vmess.errors import ConfigError, ConfigProblem
from trio_vmess.node import make_system_resolver, utc_seconds


@attrs.frozen(kw_only=True)
class Examination:
    """What to examine a server with.

    Attributes:
        target: requested through the server.
        name_server: asked through the server by UDP.
        limit: seconds for each part of each connection.
        download: downloaded through the server for as long; None for no such step.
        file: the name of the configuration file, for errors; empty for none.
    """

    target: Target
    name_server: tuple[IPAddress, int]
    limit: float
    download: Target | None = None
    file: str = ""


def unusable(error: ConfigError) -> Report:
    """Return the report for a configuration that cannot be used."""
    report = Report()
    report.note(StepName.CONFIG, State.FAILED, "; ".join(map(str, error.problems)))
    report.causes = [
        Cause(str(each), f"correct the link or configuration: {each}") for each in error.problems
    ]
    return report


async def examine(
    outbound: OutboundSettings,
    examination: Examination,
    *,
    resolve: Resolve | None = None,
    clock: Callable[[], int] = utc_seconds,
) -> Report:
    """Connect to the first server of a VMess outbound, and say what works and what does not.

    It makes a few connections, and takes some multiples of `examination.limit` at most.

    Args:
        outbound: has a VMess server.
        examination: how.
        resolve: finds the server's addresses; None asks as the machine does.
        clock: returns UTC seconds.

    Raises:
        ValueError: it is no VMess outbound, or has no server.
        trio.Cancelled: from outside; nothing stays open.
    """
    means = Means(
        file=examination.file,
        resolve=resolve or make_system_resolver().resolve,
        clock=clock,
        limit=examination.limit,
    )
    subject = Subject.of(outbound, means)
    try:
        _refuse_chains(outbound, examination)
        check_settings(means, subject.shared)
    except ConfigError as exc:
        return unusable(exc)
    report = Report(server=subject.name)
    report.note(StepName.CONFIG, State.OK, _describe(subject))
    await _examine(subject, examination, report)
    return report


def _refuse_chains(outbound: OutboundSettings, examination: Examination) -> None:
    """Refuse an outbound that goes through another: nobody dials its server from here.

    Raises:
        ConfigError: it does.
    """
    if outbound.through:
        message = (
            f"the outbound {outbound.tag!r} goes through {outbound.through!r}: it can only be "
            f"examined without that; examine {outbound.through!r} first"
        )
        raise ConfigError(ConfigProblem(where="outbounds", message=message, file=examination.file))


async def _examine(subject: Subject, examination: Examination, report: Report) -> None:
    approach, admission = Approach(subject, report), Admission(subject, report)
    if not await approach.examine_name():
        return
    target = examination.target
    trial = await try_request(subject.means, subject.single, target.destination, target.request)
    admission.see(trial)
    if not await approach.examine_layers(trial):
        admission.compare_clocks(is_accepted=False)
        return
    if not await admission.authenticate(trial):
        return
    passage = Passage(subject=subject, report=report, target=target, single=trial)
    passage.judge_request()
    await passage.examine_udp(examination.name_server)
    await passage.examine_mux()
    passage.split_latency()
    await passage.measure_throughput(examination.download)


def _describe(subject: Subject) -> str:
    shown = f"{subject.name}, {subject.describe_stream()}, {subject.describe_header()}"
    if subject.alternatives:
        shown += f" (the first of {subject.alternatives + 1} servers or users)"
    return shown
