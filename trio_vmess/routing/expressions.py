r"""Regular expressions on names, in Go's syntax, which is RE2's.

V2Ray's rules are written for Go. RE2 is the engine that Go's is modelled on: what one accepts, the
other does, and neither takes longer than linear time, whatever a client's name and a rule's
nested repetitions are. Back-references and look-around exist in neither.

The library is loaded with the first expression: most configurations have none.
"""

from collections.abc import Sequence
from typing import Final, Protocol, cast

_MEMORY_MAX: Final = 64 * 1024 * 1024
"""Bytes that RE2 may use for the states of all expressions together; it begins anew when they are
used up. Its default of 8 MiB is for single expressions."""


# The library has no type hints; this is as much of it as is used here, under its own names.


class _Set(Protocol):
    def Add(self, pattern: str, /) -> int: ...  # noqa: N802
    def Compile(self) -> None: ...  # noqa: N802
    def Match(self, text: str, /) -> list[int] | None: ...  # noqa: N802


class _SetClass(Protocol):
    def SearchSet(self, options: object, /) -> _Set: ...  # noqa: N802


class _Options(Protocol):
    log_errors: bool
    max_mem: int


class _Engine(Protocol):
    error: type[Exception]
    Set: _SetClass

    def Options(self) -> _Options: ...  # noqa: N802
    def compile(self, pattern: str, options: _Options, /) -> object: ...


def _load() -> _Engine:
    import re2  # pyright: ignore[reportMissingTypeStubs]

    return cast("_Engine", re2)


def _options(engine: _Engine) -> _Options:
    options = engine.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_MAX
    return options


class ExpressionSet:
    """Expressions that are matched all at once.

    Args:
        texts: in Go's syntax.

    Raises:
        ValueError: one of them is not valid.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        engine = _load()
        self._set = engine.Set.SearchSet(_options(engine))
        for text in texts:
            check_expression(text)
            self._set.Add(text)
        self._set.Compile()

    def find(self, name: str) -> Sequence[int]:
        """Return the positions of the expressions that match somewhere in a name, as written."""
        return self._set.Match(name) or ()


def check_expression(text: str) -> None:
    """Check one expression.

    Raises:
        ValueError: it is not valid; the message says why.
    """
    engine = _load()
    try:
        engine.compile(text, _options(engine))
    except engine.error as exc:
        why: object = exc.args[0] if exc.args else exc
        if isinstance(why, bytes):
            why = why.decode("utf-8", "replace")
        raise ValueError(f"'{text}' is not a valid regular expression: {why}") from None
