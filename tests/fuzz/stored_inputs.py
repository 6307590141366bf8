r"""The stored inputs of the fuzz targets, and how they are chosen.

Each target has one text file of them in `corpora/`, with an input per line: printable ASCII as it
is, and everything else escaped as `\n` or `\xAB`. They are what fuzzing has found beyond the
target's own seeds: each reaches a step from one line of the package to another that no seed and no
other stored input reaches. The unit suite replays them all.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

CORPORA: Final = Path(__file__).parent / "corpora"

INPUT_COUNT_MAX: Final = 40
FILE_SIZE_MAX: Final = 32 * 1024
"""Bytes, for each target."""

_TRACED: Final = str(Path(__file__).parents[2] / "trio_vmess")

Arc = tuple[str, int, int]
"""A file and two of its lines, one executed right after the other."""

_Tracer = Callable[[FrameType, str, Any], Any]


def read_corpus(name: str, *, folder: Path = CORPORA) -> list[bytes]:
    """Return the stored inputs of a target."""
    try:
        lines = (folder / f"{name}.txt").read_text("ascii").splitlines()
    except FileNotFoundError:
        return []
    return [line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines]


def write_corpus(name: str, inputs: Iterable[bytes], *, folder: Path = CORPORA) -> None:
    """Store the inputs of a target, in an order that follows from them alone."""
    lines = sorted(map(_to_line, inputs), key=lambda line: (len(line), line))
    (folder / f"{name}.txt").write_text("".join(lines), "ascii")


def _to_line(data: bytes) -> str:
    return data.decode("latin-1").encode("unicode_escape").decode("ascii") + "\n"


def minimise(
    check: Callable[[bytes], None], *, seeds: Sequence[bytes], inputs: Iterable[bytes]
) -> list[bytes]:
    """Choose few and short inputs that reach as much as all of them do.

    Args:
        check: the target's, which every input passes.
        seeds: what these reach need not be reached again.
        inputs: what to choose from.

    Returns:
        At most `INPUT_COUNT_MAX`, and no more than fit into `FILE_SIZE_MAX`: those first that reach
        most.
    """
    known: set[Arc] = set()
    for seed in seeds:
        known |= trace(check, seed)
    candidates = sorted(set(inputs), key=lambda data: (len(data), data))
    left = {data: trace(check, data) - known for data in candidates}
    chosen: list[bytes] = []
    size = 0
    while len(chosen) < INPUT_COUNT_MAX:
        left = {
            data: arcs
            for data, arcs in left.items()
            if arcs and size + len(_to_line(data)) <= FILE_SIZE_MAX
        }
        if not left:
            break
        # The first of the equally good ones, which is the shortest.
        best = max(left, key=lambda data: len(left[data]))
        reached = left.pop(best)
        chosen.append(best)
        size += len(_to_line(best))
        left = {data: arcs - reached for data, arcs in left.items()}
    return chosen


def trace(check: Callable[[bytes], None], data: bytes) -> set[Arc]:
    """Run a check, and return the steps from line to line that it made in the package."""
    arcs: set[Arc] = set()

    def enter(frame: FrameType, _event: str, _argument: Any) -> _Tracer | None:
        file = frame.f_code.co_filename
        if not file.startswith(_TRACED):
            return None
        line = frame.f_lineno

        def step(frame: FrameType, event: str, _argument: Any) -> _Tracer:
            nonlocal line
            if event == "line":
                arcs.add((file, line, frame.f_lineno))
                line = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(before)
    return arcs


def found_inputs(folder: Path, name: str) -> Iterator[bytes]:
    """Yield the inputs that fuzzing has kept for a target."""
    for path in sorted((folder / name).glob("*")):
        yield path.read_bytes()
