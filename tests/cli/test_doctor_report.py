"""What the doctor's report looks like on different terminals."""

import io

import pytest

from trio_vmess.cli.arguments import DoctorArguments
from trio_vmess.cli.doctor import diagnose, format_report
from trio_vmess.cli.values import read_name_server
from trio_vmess.diagnosis.doctor import Cause, Report, State, StepName


def make_report() -> Report:
    report = Report(server="vpn.example:443")
    report.note(StepName.CONFIG, State.OK, "vpn.example:443, TLS, AEAD headers")
    report.note(StepName.TCP, State.WARNING, "slow")
    report.note(StepName.TRANSPORT, State.UNUSED, "not configured")
    report.fail(StepName.TLS, "it has \x1b[2J expired", [Cause("it has expired", "renew it")])
    return report


def lines_of(report: Report, *, is_unicode: bool = False, has_colour: bool = False) -> list[str]:
    return list(format_report(report, is_unicode=is_unicode, has_colour=has_colour))


def test_each_step_has_a_line_and_the_end_is_the_remedy() -> None:
    lines = lines_of(make_report(), is_unicode=True)
    assert lines[0] == "\N{CHECK MARK} config          vpn.example:443, TLS, AEAD headers"
    assert lines[2] == "! TCP             slow"
    assert lines[3].startswith("\N{BALLOT X} TLS             ")
    assert lines[4] == "- transport       not configured"
    assert lines[5] == "- clock           skipped"
    assert lines[-2:] == ["What is wrong: it has expired", "To fix: renew it"]


def test_terminals_without_unicode_get_ascii() -> None:
    text = "\n".join(lines_of(make_report()))
    assert text.isascii()
    assert text.startswith("+ config")
    assert "\nx TLS" in text


def test_what_a_server_says_cannot_control_the_terminal() -> None:
    assert not any("\x1b" in each for each in lines_of(make_report()))


def test_colour_is_for_the_marks_alone() -> None:
    lines = lines_of(make_report(), has_colour=True)
    assert lines[0].startswith("\x1b[32m+\x1b[0m config")
    assert lines[3].startswith("\x1b[31mx\x1b[0m TLS")


def test_several_causes_are_listed_in_their_order() -> None:
    report = Report()
    causes = [Cause("first", "do this"), Cause("second", "do that")]
    report.fail(StepName.AUTHENTICATION, "silence", causes)
    assert lines_of(report)[-5:] == [
        "What may be wrong, the most likely first:",
        "  1. first",
        "  2. second",
        "",
        "To fix: do this",
    ]


@pytest.mark.parametrize(
    ("state", "last"),
    [(State.OK, "Nothing to fix."), (State.WARNING, "Nothing to fix, but mind the warnings.")],
)
def test_a_server_that_works_needs_no_remedy(state: State, last: str) -> None:
    report = Report()
    report.note(StepName.CONFIG, state)
    assert report.is_ok
    assert lines_of(report)[-1] == last
    assert report.to_json()["fix"] is None


class Terminal(io.TextIOWrapper):
    """A terminal with an encoding."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("encoding", "environ", "begin"),
    [
        ("utf-8", {}, "\x1b[31m\N{BALLOT X}\x1b[0m config"),
        ("ascii", {}, "\x1b[31mx\x1b[0m config"),
        ("utf-8", {"NO_COLOR": "1"}, "\N{BALLOT X} config"),
        ("utf-8", {"NO_COLOR": ""}, "\x1b[31m\N{BALLOT X}\x1b[0m config"),
    ],
)
def test_the_terminal_decides_on_marks_and_colour(
    encoding: str, environ: dict[str, str], begin: str
) -> None:
    stdout = Terminal(io.BytesIO(), encoding=encoding)
    arguments = DoctorArguments(
        link="vmess://\N{SNOWMAN}",
        config=None,
        outbound=None,
        target="127.0.0.1:1",
        dns=read_name_server("127.0.0.1"),
        timeout=1.0,
        throughput=None,
        json=False,
    )
    assert not diagnose(arguments, environ=environ, stdin=None, stdout=stdout)
    stdout.flush()
    buffer = stdout.buffer
    assert isinstance(buffer, io.BytesIO)
    assert buffer.getvalue().decode(encoding).startswith(begin)
