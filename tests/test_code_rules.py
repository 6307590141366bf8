"""The rules about code, held against the package and against samples that break them."""

import pytest

from tests.architecture import present_sources
from tests.code_rules import find_open_matches, find_unnamed_tasks


def test_every_task_has_a_name() -> None:
    assert find_unnamed_tasks(present_sources()) == []


def test_no_match_overlooks_a_member() -> None:
    assert find_open_matches(present_sources()) == []


# The rules bite ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "nursery.start_soon(run)",
        "self._nursery.start_soon(run, 1, 2)",
        "await nursery.start(run)",
        "await nursery.start(run, 1, task=2)",
        "@nursery.start_soon\n    async def run(): ...",
    ],
)
def test_a_task_without_a_name_is_found(line: str) -> None:
    sources = {"a.py": f"async def f(nursery):\n    {line}\n", "b.py": ""}
    assert [each.partition(":")[0] for each in find_unnamed_tasks(sources)] == ["a.py"]


@pytest.mark.parametrize(
    "line",
    [
        "nursery.start_soon(run, name='x')",
        "await nursery.start(run, 1, name=f'{x}')",
        "end = found.start()",
        "thread.start()",
        "spawn = nursery.start_soon",
    ],
)
def test_what_is_no_unnamed_task(line: str) -> None:
    assert find_unnamed_tasks({"a.py": f"async def f(nursery):\n    {line}\n"}) == []


IMPORTS = "import h11\nfrom ast import Name\nfrom trio_vmess.core import Color, Event, events\n"


def match_of(*cases: str) -> dict[str, str]:
    return {"a.py": IMPORTS + "match x:\n" + "".join(f"    case {case}\n" for case in cases)}


@pytest.mark.parametrize(
    "cases",
    [
        ("1: pass",),
        ("1: pass", "2: pass"),
        ("1: pass", "_ if y: pass"),
        ("int(): pass", "str(): pass"),
        ("Color.RED: pass", "_: pass"),
        ("Color.RED | Color.BLUE: pass", "_: return_nothing()"),
        ("Event(): pass", "_: pass"),
        ("events.Event(x=found) as event: pass", "_: pass"),
        ("Event(): pass", "Other(): pass"),
    ],
)
def test_an_open_match_is_found(cases: tuple[str, ...]) -> None:
    assert find_open_matches(match_of(*cases)) == ["a.py:4"]


@pytest.mark.parametrize(
    "cases",
    [
        ("1: pass", "_: pass"),
        ("'a' | 'b': pass", "other: pass"),
        ("int() | str(): pass", "_: pass"),
        ("[Color.RED]: pass", "_: pass"),
        ("h11.Data(): pass", "_: pass"),
        ("Name(): pass", "_: pass"),
        ("Event(x=1): pass", "_: pass"),
        ("Event(): pass", "str(): pass", "_: pass"),
        ("Color.RED: pass", "_: assert_never(x)"),
        ("Color.RED: pass", "_ as never: assert_never(never)"),
        ("Color.RED: pass", "other: raise ValueError(other)"),
        ("Event(): pass", "_: raise TypeError"),
    ],
)
def test_a_match_that_overlooks_nothing(cases: tuple[str, ...]) -> None:
    assert find_open_matches(match_of(*cases)) == []
