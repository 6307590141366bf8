"""What drives a fuzz target: atheris where it is installed, hypothesis where it is not.

A target is a module with `check(data: bytes) -> None`, which raises where an invariant is broken,
and `SEEDS`, inputs worth mutating.
"""

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INSTRUMENTED = ("trio_vmess", "h11")
INPUT_SIZE_MAX = 4096
EXAMPLE_COUNT = 500


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Seeds with some places cut out, overwritten or filled with other bytes."""

    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.integers(0, len(data)))
            end = min(len(data), start + draw(st.integers(0, 4)))
            data[start:end] = draw(st.binary(max_size=4))
        if draw(st.booleans()):
            data += draw(st.sampled_from(seeds))
        return bytes(data)

    return st.one_of(build(), st.binary(max_size=64))


def run(target: str) -> None:
    """Fuzz one target for as long as the command line says."""
    parser = argparse.ArgumentParser(description=f"Fuzz {target}.")
    parser.add_argument("--seconds", type=int, default=600, help="how long (default: 600)")
    seconds = parser.parse_args().seconds
    if importlib.util.find_spec("atheris") is not None:
        _run_atheris(target, seconds)
    else:
        _run_hypothesis(target, seconds)


def _run_atheris(target: str, seconds: int) -> None:
    import atheris

    # Only what is imported from now on is instrumented.
    for name in [name for name in sys.modules if name.partition(".")[0] in INSTRUMENTED]:
        del sys.modules[name]
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        module = importlib.import_module(target)
    with tempfile.TemporaryDirectory() as corpus:
        for index, seed in enumerate(module.SEEDS):
            Path(corpus, f"seed-{index}").write_bytes(seed)
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={INPUT_SIZE_MAX}",
            f"-artifact_prefix={tempfile.gettempdir()}/",
        ]
        atheris.Setup([target, *options, corpus], module.check)
        atheris.Fuzz()


def _run_hypothesis(target: str, seconds: int) -> None:
    module = importlib.import_module(target)
    check: Callable[[bytes], None] = module.check

    @settings(
        max_examples=EXAMPLE_COUNT,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(module.SEEDS))
    def search(data: bytes) -> None:
        check(data)

    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until:
        search()
        count += EXAMPLE_COUNT
    sys.stderr.write(f"{target}: {count} inputs, nothing found\n")
