"""What drives a fuzz target: atheris where it is installed, hypothesis where it is not.

This module and `tests.fuzz.__main__` import nothing of the package, so that atheris can instrument
all of it when it comes in with a target.
"""

import hashlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.stored_inputs import read_corpus

INSTRUMENTED: Final = ("trio_vmess", "h11", "dns")
INPUT_SIZE_MAX: Final = 4096
INPUT_SECONDS_MAX: Final = 20
"""A single input that takes longer is a find."""
EXAMPLE_COUNT: Final = 500

_PREFIX: Final = "fuzz_"


class Target(Protocol):
    """A module of this folder whose name begins with `fuzz_`.

    It may have `TOKENS`, too: byte strings that mutations should insert, such as keywords.

    Attributes:
        SEEDS: inputs worth mutating.
        check: raises where an invariant is broken.
    """

    SEEDS: Sequence[bytes]
    check: Callable[[bytes], None]


def target_names() -> list[str]:
    """Return the names of all targets."""
    found = Path(__file__).parent.glob(f"{_PREFIX}*.py")
    return sorted(path.stem.removeprefix(_PREFIX) for path in found)


def load_target(name: str) -> Target:
    """Import a target."""
    return cast("Target", importlib.import_module(f"tests.fuzz.{_PREFIX}{name}"))


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


def fuzz(name: str, *, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process, and end the process if something is found.

    Args:
        name: of the target.
        seconds: how long.
        folder: inputs that reach something new are kept in `folder/name`, and are where the next
            run begins; an input that breaks an invariant is left as `folder/name-crash-…`.
    """
    if importlib.util.find_spec("atheris") is not None:
        _run_atheris(name, seconds, folder)
    else:
        _run_hypothesis(name, seconds)


def _run_atheris(name: str, seconds: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        target = load_target(name)
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for data in (*target.SEEDS, *read_corpus(name)):
        # The name that libFuzzer itself gives to its files.
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        (corpus / digest).write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_SIZE_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-artifact_prefix={folder}/{name}-",
    ]
    if tokens := getattr(target, "TOKENS", ()):
        dictionary = folder / f"{name}.dict"
        dictionary.write_text(_to_dictionary(tokens), "ascii")
        options.append(f"-dict={dictionary}")
    atheris.Setup([name, *options, str(corpus)], target.check)
    atheris.Fuzz()


def _to_dictionary(tokens: Iterable[bytes]) -> str:
    """Write tokens in libFuzzer's format: one in quotes per line, bytes as `\\xAB`."""
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in tokens)
    return "".join(f'"{token}"\n' for token in escaped)


def _run_hypothesis(name: str, seconds: int) -> None:
    target = load_target(name)

    @settings(
        max_examples=EXAMPLE_COUNT,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated([*target.SEEDS, *read_corpus(name)]))
    def search(data: bytes) -> None:
        target.check(data)

    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until:
        search()
        count += EXAMPLE_COUNT
    sys.stderr.write(f"{name}: {count} inputs, nothing found\n")
