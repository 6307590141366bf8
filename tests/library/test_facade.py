"""The public names: what `trio_vmess` exports, what `dir` shows, and what the manual explains."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import trio_vmess

MANUAL = Path(__file__).parents[2] / "docs" / "library.md"


def test_dir_shows_the_exported_names_and_no_others() -> None:
    shown = {
        name
        for name in dir(trio_vmess)
        if not name.startswith("_") and not isinstance(getattr(trio_vmess, name), ModuleType)
    }
    assert shown == set(trio_vmess.__all__) - {"__version__"}


def test_the_manual_has_a_row_for_each_exported_name_and_no_others() -> None:
    table = MANUAL.read_text("utf-8").partition("\n## All names\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| .+ \|$", table, re.MULTILINE)
    assert sorted(rows) == sorted(trio_vmess.__all__)


def test_each_exported_name_has_a_docstring() -> None:
    for name in trio_vmess.__all__:
        if name != "__version__":
            documented = inspect.getdoc(getattr(trio_vmess, name))
            assert documented, name
