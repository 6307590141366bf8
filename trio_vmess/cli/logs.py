"""The access log and the error log: each goes to a standard stream, a file, or nowhere."""

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TextIO

from trio_vmess.config import LogLevel, LogSettings
from trio_vmess.errors import ConfigError, ConfigProblem

_LEVELS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}

_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
_ACCESS_FORMAT: Final = "%(asctime)s %(message)s"


@contextmanager
def logging_to(settings: LogSettings) -> Generator[None]:
    """Send the package's logs where the settings say, until the context ends.

    Raises:
        ConfigError: a file cannot be opened.
    """
    access = logging.getLogger("trio_vmess.access")
    root = logging.getLogger("trio_vmess")
    pairs: list[tuple[logging.Logger, logging.Handler]] = []
    try:
        pairs += _attach(access, settings.access, "access", sys.stdout, _ACCESS_FORMAT)
        access.setLevel(logging.INFO if pairs else logging.CRITICAL + 1)
        access.propagate = False
        level = _LEVELS.get(settings.level)
        root.setLevel(logging.CRITICAL + 1 if level is None else level)
        root.propagate = False
        if level is not None:
            pairs += _attach(root, settings.error, "error", sys.stderr, _FORMAT)
        if not any(logger is root for logger, _ in pairs):
            pairs.append((root, logging.NullHandler()))
            root.addHandler(pairs[-1][1])
        yield
    finally:
        for logger, handler in pairs:
            logger.removeHandler(handler)
            handler.close()
        access.propagate = root.propagate = True
        access.setLevel(logging.NOTSET)
        root.setLevel(logging.NOTSET)


def _attach(
    logger: logging.Logger, target: str, key: str, stream: TextIO, line: str
) -> list[tuple[logging.Logger, logging.Handler]]:
    if target == "none":
        return []
    opener: Callable[[], logging.Handler] = (
        (lambda: logging.FileHandler(target, encoding="utf-8"))
        if target
        else (lambda: logging.StreamHandler(stream))
    )
    try:
        handler = opener()
    except OSError as exc:
        problem = (
            f"cannot open {target!r}: {exc.strerror}; choose a path that the node can write to"
        )
        raise ConfigError(ConfigProblem(where=f"log.{key}", message=problem)) from None
    handler.setFormatter(logging.Formatter(line))
    logger.addHandler(handler)
    return [(logger, handler)]
