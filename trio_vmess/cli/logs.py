"""What a running program writes: the access log, the error log, and lines on standard output.

Each log goes to a standard stream, a file, or nowhere. Nothing here may stop a node: see
`trio_vmess.cli.log_writer`.
"""

import contextlib
import errno
import functools
import logging
import os
import sys
import time
from collections.abc import Generator, Sequence
from typing import Final, TextIO

import attrs

from trio_vmess.cli.log_targets import DescriptorTarget, FileTarget, Target, write_all
from trio_vmess.cli.log_writer import LogWriter
from trio_vmess.cli.repeats import RepeatLimiter
from trio_vmess.config import Config, LogLevel, LogSettings, locate
from trio_vmess.errors import ConfigError, ConfigProblem

_LEVELS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}

_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
_ACCESS_FORMAT: Final = "%(asctime)s %(message)s"

_FAILURE_HINT: Final = "its lines are dropped and counted until it can be written again"

_STDERR: Final = 2

log: Final = logging.getLogger("trio_vmess.log")


@attrs.frozen(kw_only=True)
class Logs:
    """The logs of a program while it runs.

    Attributes:
        files: those that are written to files.
        output: writes to standard output; None if there is none.
    """

    files: Sequence[LogWriter]
    output: LogWriter | None

    def say(self, line: str) -> None:
        """Write a line to standard output, in order with an access log that goes there.

        Returns at once: unlike `print`, it does not wait for somebody to read a pipe that is full.
        """
        if self.output is not None:
            self.output.write_line(line)

    def reopen(self) -> None:
        """Open all files again: somebody may have renamed them."""
        for each in self.files:
            each.reopen()


@contextlib.contextmanager
def logging_to(settings: LogSettings) -> Generator[Logs]:
    """Send the package's logs where the settings say, until the context ends.

    Raises:
        ConfigError: a file cannot be opened.
    """
    access = logging.getLogger("trio_vmess.access")
    root = logging.getLogger("trio_vmess")
    level = _LEVELS.get(settings.level)
    with contextlib.ExitStack() as stack:
        # The standard library writes warnings by itself where there is no handler: with no error
        # log, and at the end, when an access log that cannot be written may still say so.
        silence = logging.NullHandler()
        root.addHandler(silence)
        stack.callback(root.removeHandler, silence)
        access_writer = _open(stack, access, settings.access, "access", sys.stdout)
        output = _open_output(stack) if settings.access else access_writer
        error_writer = None
        if level is not None:
            error_writer = _open(stack, root, settings.error, "error", sys.stderr)
        stack.callback(_reset, access, root)
        access.setLevel(logging.INFO if access_writer else logging.CRITICAL + 1)
        root.setLevel(logging.CRITICAL + 1 if level is None else level)
        access.propagate = root.propagate = False
        opened = ((settings.access, access_writer), (settings.error, error_writer))
        try:
            files = [each for path, each in opened if path and each is not None]
            yield Logs(files=files, output=output)
        finally:
            # All at a time: each of them may have to be waited for.
            for each in (output, access_writer, error_writer):
                if each is not None:
                    each.begin_closing()


def _open(
    stack: contextlib.ExitStack, logger: logging.Logger, name: str, key: str, stream: TextIO | None
) -> LogWriter | None:
    """Give a logger what the setting `name` says; None for nothing."""
    target = _open_target(name, key, stream)
    if target is None:
        return None
    is_access = key == "access"
    writer = LogWriter(
        key,
        target,
        report_failure=functools.partial(_report_failure, key, name),
        limiter=None if is_access else RepeatLimiter(),
    )
    stack.callback(writer.close)
    writer.setFormatter(SecondFormatter(_ACCESS_FORMAT if is_access else _FORMAT))
    logger.addHandler(writer)
    stack.callback(logger.removeHandler, writer)
    return writer


def _open_output(stack: contextlib.ExitStack) -> LogWriter | None:
    """Open standard output for a program whose access log does not go there."""
    target = _open_target("", "", sys.stdout)
    if target is None:
        return None
    writer = LogWriter(
        "output", target, report_failure=functools.partial(_report_failure, "output", "")
    )
    stack.callback(writer.close)
    return writer


def _reset(*loggers: logging.Logger) -> None:
    for each in loggers:
        each.propagate = True
        each.setLevel(logging.NOTSET)


def _report_failure(key: str, name: str, reason: str) -> None:
    """Say elsewhere that a log cannot be written; called in its thread."""
    if key != "error":
        log.error("log.failed log=%s reason=%r hint=%r", key, reason, _FAILURE_HINT)
    elif name:
        text = f"warning: cannot write the error log {name!r}: {reason}; {_FAILURE_HINT}\n"
        with contextlib.suppress(OSError):
            write_all(_STDERR, text.encode("utf-8", "backslashreplace"))


class SecondFormatter(logging.Formatter):
    """Writes the time as `logging.Formatter` does, but reads the calendar once a second."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self._second = -1
        self._text = ""

    def formatTime(  # noqa: N802  (the name that it replaces)
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """Return the local time with milliseconds."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._text = time.strftime(datefmt or self.default_time_format, time.localtime(second))
        return f"{self._text},{int(record.msecs):03d}"


def _open_target(name: str, key: str, stream: TextIO | None) -> Target | None:
    """Open what a setting names: a path; `none` for nothing; empty for a standard stream.

    Raises:
        ConfigError: the file cannot be opened.
    """
    if name == "none":
        return None
    if not name:
        # A program without a console has no streams.
        return None if stream is None else DescriptorTarget(stream.fileno())
    try:
        return FileTarget(name)
    except OSError as exc:
        message = _cannot_open(name, exc.strerror)
        raise ConfigError(ConfigProblem(where=f"log.{key}", message=message)) from None


def _cannot_open(name: str, reason: str | None) -> str:
    return f"cannot open {name!r}: {reason}; choose a path that the node can write to"


def check_log_files(config: Config) -> None:
    """Check that the logs of a configuration could be written, without making files.

    Raises:
        ConfigError: with each file that could not be opened.
    """
    settings = config.log
    names = {"access": settings.access}
    if _LEVELS.get(settings.level) is not None:
        names["error"] = settings.error
    problems = [
        locate(settings.locations, key, "log").problem(_cannot_open(name, why), file=config.file)
        for key, name in names.items()
        if name not in ("", "none") and (why := _why_not_writable(name))
    ]
    if problems:
        raise ConfigError(*problems)


def _why_not_writable(path: str) -> str:
    """Return why a file could not be opened for writing; empty if it could."""
    if os.path.isdir(path):
        return os.strerror(errno.EISDIR)
    folder = os.path.dirname(path) or os.curdir
    if not os.path.isdir(folder):
        return os.strerror(errno.ENOENT)
    if os.path.exists(path):
        may_write = os.access(path, os.W_OK)
    else:
        may_write = os.access(folder, os.W_OK | os.X_OK)
    return "" if may_write else os.strerror(errno.EACCES)
