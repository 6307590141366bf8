"""The interop matrix as a table, at the end of a run in which one of its tests was selected."""

from collections.abc import Generator
from typing import Final

import pytest

from tests.interop.matrix import MatrixCell, format_matrix, matrix_cells

_CELL: Final = "matrix_cell"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get(_CELL) if callspec is not None else None
    if isinstance(cell, MatrixCell):
        # With the report it comes from a worker, too, to whoever prints the table.
        report.user_properties.append((_CELL, str(cell)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cells = {str(cell): cell for cell in matrix_cells()}
    results: dict[MatrixCell, str] = {}
    for outcome, word in (
        ("passed", "ok"),
        ("skipped", "skipped"),
        ("failed", "FAILED"),
        ("error", "FAILED"),
    ):
        for report in terminalreporter.getreports(outcome):
            results |= {cells[text]: word for name, text in report.user_properties if name == _CELL}
    if results:
        terminalreporter.section("interop matrix")
        for line in format_matrix(results):
            terminalreporter.write_line(line)
