"""`trio-vmess doctor`: which outbound is meant, and what its report looks like."""

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Final, TextIO

import trio

from trio_vmess.cli.arguments import DoctorArguments
from trio_vmess.cli.links import find_link
from trio_vmess.cli.tables import printable
from trio_vmess.config import (
    OutboundSettings,
    VMessOutboundSettings,
    load_config,
    parse_share_link,
    share_link_outbound,
)
from trio_vmess.diagnosis.doctor import (
    Examination,
    Report,
    State,
    Step,
    StepName,
    examine,
    read_target,
    unusable,
)
from trio_vmess.errors import ConfigError, ConfigProblem

_TITLES: Final[Mapping[StepName, str]] = {
    StepName.TCP: "TCP",
    StepName.TLS: "TLS",
    StepName.UDP: "UDP",
}
_TITLE_WIDTH: Final = 15

_MARKS: Final[Mapping[State, tuple[str, str, str]]] = {
    State.OK: ("\N{CHECK MARK}", "+", "32"),
    State.WARNING: ("!", "!", "33"),
    State.FAILED: ("\N{BALLOT X}", "x", "31"),
    State.SKIPPED: ("-", "-", "2"),
    State.UNUSED: ("-", "-", "2"),
}
"""A mark, the same in ASCII, and its colour as a parameter of ECMA-48's SGR."""


def diagnose(
    arguments: DoctorArguments, *, environ: Mapping[str, str], stdin: TextIO | None, stdout: TextIO
) -> bool:
    """Examine a server, and print the report.

    Args:
        arguments: which server, and how.
        environ: the environment: may have the link, and NO_COLOR.
        stdin: standard input, which may have the link; None if it is closed.
        stdout: where the report goes.

    Returns:
        Whether no step has failed.
    """
    # What an outbound would log is in the report, in other words.
    logging.getLogger("trio_vmess").addHandler(logging.NullHandler())
    try:
        outbound = _find_outbound(arguments, environ, stdin)
    except ConfigError as exc:
        report = unusable(exc)
    else:
        if not arguments.json and stdout.isatty():
            print("Examining; a server that is silent takes a while.", file=stdout, flush=True)
        report = trio.run(examine, outbound, _examination_of(arguments))
    if arguments.json:
        print(json.dumps(report.to_json()), file=stdout)
    else:
        _print_lines(report, stdout, environ)
    return report.is_ok


def _find_outbound(
    arguments: DoctorArguments, environ: Mapping[str, str], stdin: TextIO | None
) -> OutboundSettings:
    """Return the outbound that is meant.

    Raises:
        ConfigError: there is none, or what describes it is wrong.
    """
    if arguments.config is None:
        link = find_link(arguments.link, environ=environ, stdin=stdin)
        return share_link_outbound(parse_share_link(link))
    outbounds = load_config(arguments.config).outbounds
    known = [each for each in outbounds if isinstance(each.protocol, VMessOutboundSettings)]
    wanted = arguments.outbound
    found = [each for each in known if wanted is None or each.tag == wanted]
    if found:
        return found[0]
    tags = ", ".join(each.tag for each in known if each.tag)
    message = "there is no outbound with protocol vmess"
    if wanted is not None:
        message += f" and tag {wanted!r}"
        message += f"; those with protocol vmess: {tags}" if tags else ""
    raise ConfigError(ConfigProblem(where="outbounds", message=message, file=arguments.config))


def _examination_of(arguments: DoctorArguments) -> Examination:
    url = arguments.throughput
    return Examination(
        target=read_target(arguments.target),
        name_server=arguments.dns,
        limit=arguments.timeout,
        download=None if url is None else read_target(url),
        file=arguments.config or "",
    )


# The report ---------------------------------------------------------------------------------------


def _print_lines(report: Report, stdout: TextIO, environ: Mapping[str, str]) -> None:
    encoding = stdout.encoding or "ascii"
    lines = format_report(
        report,
        is_unicode=encoding.lower().replace("-", "").startswith("utf"),
        has_colour=stdout.isatty() and not environ.get("NO_COLOR"),
    )
    for line in lines:
        # A path, for example, may have what this terminal has not.
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stdout)


def format_report(report: Report, *, is_unicode: bool, has_colour: bool) -> Iterator[str]:
    """Yield the lines of a report.

    Args:
        report: the result of an examination.
        is_unicode: whether marks outside ASCII can be shown.
        has_colour: whether to colour them.
    """
    for step in report.steps:
        yield _format_step(step, is_unicode=is_unicode, has_colour=has_colour)
    yield ""
    if not report.causes:
        has_warnings = any(each.state is State.WARNING for each in report.steps)
        yield f"Nothing to fix{', but mind the warnings' if has_warnings else ''}."
        return
    if len(report.causes) > 1:
        yield "What may be wrong, the most likely first:"
        for number, cause in enumerate(report.causes, start=1):
            yield f"  {number}. {printable(cause.what)}"
        yield ""
    else:
        yield f"What is wrong: {printable(report.causes[0].what)}"
    yield f"To fix: {printable(report.remedy)}"


def _format_step(step: Step, *, is_unicode: bool, has_colour: bool) -> str:
    fancy, plain, colour = _MARKS[step.state]
    mark = fancy if is_unicode else plain
    if has_colour:
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    title = _TITLES.get(step.name, step.name.value)
    detail = step.detail or ("skipped" if step.state is State.SKIPPED else "")
    return f"{mark} {title:{_TITLE_WIDTH}} {printable(detail)}".rstrip()
