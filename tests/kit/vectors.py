"""The golden vectors and live captures of `tests/vectors`; its README tells what they hold."""

import base64
import functools
import inspect
import json
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

VECTORS: Final = Path(__file__).parent.parent / "vectors"


def unpack(value: str | dict[str, Any]) -> bytes:
    """Return the bytes of a hex text or of a packed object."""
    if isinstance(value, str):
        return bytes.fromhex(value)
    return zlib.decompress(base64.b64decode(value["zlib_b64"]))


@functools.cache
def load(name: str, part: str | None = None) -> list[dict[str, Any]]:
    """Return the vectors, or the captures, of one file, or another list in it."""
    document = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    key = part or ("captures" if "captures" in document else "vectors")
    vectors: list[dict[str, Any]] = document[key]
    return vectors


def name_of(vector: dict[str, Any]) -> str:
    """Return a test id."""
    return str(vector.get("name") or vector.get("uuid"))


def for_each(
    cases: Iterable[Any], *, name: Callable[[Any], str] = name_of
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a test run once for each case, which is its first argument, and name the one that fails.

    To be used like `pytest.mark.parametrize` for hundreds of cases that take microseconds each: as
    tests of their own they would cost more than what they test.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: object, **kwargs: object) -> None:
            for case in cases:
                try:
                    test(case, *args, **kwargs)
                except BaseException as exc:
                    exc.add_note(f"in the case {name(case)!r}")
                    raise

        signature = inspect.signature(test)
        others = list(signature.parameters.values())[1:]
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorate
