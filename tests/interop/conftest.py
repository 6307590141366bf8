"""The interop matrix as a table, at the end of a run in which one of its tests was selected."""

from collections.abc import Generator
from typing import Final

import pytest

from tests.interop.matrix import MatrixCell, format_matrix

_RESULTS: Final = pytest.StashKey[dict[MatrixCell, str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("matrix_cell") if callspec is not None else None
    if isinstance(cell, MatrixCell):
        results = item.config.stash.setdefault(_RESULTS, {})
        if report.failed:
            results[cell] = "FAILED"
        elif report.skipped:
            results[cell] = "skipped"
        elif report.when == "call":
            results.setdefault(cell, "ok")
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    results = config.stash.get(_RESULTS, {})
    if results:
        terminalreporter.section("interop matrix")
        for line in format_matrix(results):
            terminalreporter.write_line(line)
