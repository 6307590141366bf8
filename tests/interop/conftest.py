"""The interop matrices as tables, at the end of a run in which one of their tests was selected."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Final, TypeVar

import pytest

from tests.interop.carrier_matrix import carrier_cells, format_carriers
from tests.interop.matrix import format_matrix, matrix_cells

_Cell = TypeVar("_Cell")

_WORDS: Final = {"passed": "ok", "skipped": "skipped", "failed": "FAILED", "error": "FAILED"}

# Parameters of tests that are cells.
_CELL: Final = "matrix_cell"
_CARRIER_CELL: Final = "carrier_cell"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    callspec = getattr(item, "callspec", None)
    for name in (_CELL, _CARRIER_CELL):
        if callspec is not None and name in callspec.params:
            # With the report it comes from a worker, too, to whoever prints the table.
            report.user_properties.append((name, str(callspec.params[name])))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _print_table(terminalreporter, _CELL, "interop matrix", matrix_cells(), format_matrix)
    _print_table(
        terminalreporter, _CARRIER_CELL, "carrier matrix", carrier_cells(), format_carriers
    )


def _print_table(
    reporter: pytest.TerminalReporter,
    parameter: str,
    title: str,
    cells: tuple[_Cell, ...],
    format_results: Callable[[Mapping[_Cell, str]], Iterator[str]],
) -> None:
    by_name = {str(cell): cell for cell in cells}
    results: dict[_Cell, str] = {}
    for outcome, word in _WORDS.items():
        for report in reporter.getreports(outcome):
            if not isinstance(report, pytest.TestReport):
                continue  # a module that could not be imported
            results |= {
                by_name[text]: word for name, text in report.user_properties if name == parameter
            }
    if results:
        reporter.section(title)
        for line in format_results(results):
            reporter.write_line(line)
