"""A log handler that never waits: lines go into a bounded queue, and a thread writes them.

Whoever logs pays for the text of the line and an append to a list. A pipe that nobody reads stops
the thread and nothing else; a full disk costs lines. What could not be written is counted, and a
line `log.dropped` says so as soon as something can be written again.

The thread collects lines for a moment before it writes them: with a busy log, one call to the
system takes hundreds of lines, and the threads do not compete for the interpreter at every line.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Final

from trio_vmess.cli.log_targets import Target
from trio_vmess.cli.repeats import RepeatLimiter

QUEUE_MAX: Final = 1024 * 1024
"""Characters that wait; what does not fit is dropped."""

LINGER: Final = 0.02
"""Seconds from the first line of a batch to its writing."""

RETRY_PAUSE: Final = 1.0
"""Seconds without an attempt after one that failed; lines of this time are dropped."""

CLOSE_LIMIT: Final = 1.0
"""Seconds that closing waits for the thread to write what is left."""

_TOO_SLOW: Final = "lines came faster than they could be written"


class LogWriter(logging.Handler):
    """Queues lines for a thread of its own.

    Args:
        name: of the log, for its thread.
        target: where lines go to; the thread owns it from now on.
        report_failure: is told in the thread, once for each time that writing begins to fail, why.
        limiter: holds back what repeats itself; None writes everything.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        *,
        report_failure: Callable[[str], None],
        limiter: RepeatLimiter | None = None,
    ) -> None:
        super().__init__()
        self._target = target
        self._report_failure = report_failure
        self._limiter = limiter
        # These belong to whoever holds the handler's lock.
        self._lines: list[str] = []
        self._size = 0
        self._overflow = 0
        self._is_idle = False
        # These belong to the thread.
        self._unwritten = 0
        self._failure = ""
        self._is_line_torn = False
        self._retry_at = 0.0
        # These are set outside and read by the thread, which is called then.
        self._wants_reopening = False
        self._is_closing = False
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"{name} log", daemon=True)
        self._thread.start()

    # The side of those who log --------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line; called with the handler's lock."""
        if self._limiter is not None and not self._limiter.admits(record, time.monotonic()):
            return
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001  (a bug in the call that logs ends nothing)
            line = f"{record.levelname} log.bug template={record.msg!r} reason={exc!r}"
        self._queue(line)

    def write_line(self, text: str) -> None:
        """Queue a line as it is, without a format; returns at once."""
        with self._locked():
            self._queue(text)

    def _queue(self, line: str) -> None:
        if self._size + len(line) > QUEUE_MAX:
            self._overflow += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._is_idle:
            self._is_idle = False
            self._calls.put(None)

    def reopen(self) -> None:
        """Have a file opened again that was renamed; returns at once."""
        self._wants_reopening = True
        self._calls.put(None)

    def begin_closing(self) -> None:
        """Let the thread write what is left, and end; returns at once."""
        self._is_closing = True
        self._calls.put(None)

    def close(self) -> None:
        """Wait for the thread to end, but not for ever: it may hang in a write."""
        self.begin_closing()
        self._thread.join(CLOSE_LIMIT)
        super().close()

    # The thread's side ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_closing:
            self._wait()
            if self._wants_reopening:
                self._wants_reopening = False
                self._reopen()
            self._write(self._take_batch(time.monotonic()))
        # Lines that came meanwhile, and what the limiter holds back.
        self._write(self._take_batch(float("inf")))
        self._target.close()

    def _wait(self) -> None:
        """Wait for lines, a summary that is due, or a call."""
        with self._locked():
            is_idle = self._is_idle = not self._lines
            due = None if self._limiter is None else self._limiter.due
        if is_idle:
            limit = None if due is None else max(0.0, due - time.monotonic())
            with contextlib.suppress(queue.Empty):
                self._calls.get(timeout=limit)
        if not self._is_closing:
            time.sleep(LINGER)

    def _take_batch(self, now: float) -> list[str]:
        with self._locked():
            if self._limiter is not None:
                for record in self._limiter.summaries(now):
                    self._queue(self.format(record))
            batch, self._lines = self._lines, []
            overflow, self._overflow = self._overflow, 0
            self._size = 0
            self._is_idle = False
        if overflow:
            # They came after all that was queued.
            batch.append(self._describe_loss(overflow, _TOO_SLOW))
        return batch

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _write(self, batch: list[str]) -> None:
        if not batch:
            return
        now = time.monotonic()
        if now < self._retry_at:
            self._unwritten += len(batch)
            return
        lines = batch
        if self._unwritten:
            lines = [self._describe_loss(self._unwritten, self._failure), *batch]
        begin = "\n" if self._is_line_torn else ""
        data = (begin + "\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        try:
            self._target.write(data)
        except OSError as exc:
            self._is_line_torn = True
            self._unwritten += len(batch)
            self._retry_at = now + RETRY_PAUSE
            self._note_failure(exc)
        else:
            self._is_line_torn = False
            self._unwritten = 0
            self._failure = ""

    def _reopen(self) -> None:
        try:
            self._target.reopen()
        except OSError as exc:
            self._note_failure(exc)

    def _note_failure(self, exc: OSError) -> None:
        is_new = not self._failure
        self._failure = exc.strerror or str(exc)
        if is_new:
            self._report_failure(self._failure)

    def _describe_loss(self, count: int, reason: str) -> str:
        text = f"log.dropped count={count} reason={reason!r}"
        return self.format(
            logging.LogRecord("trio_vmess.log", logging.ERROR, __file__, 0, text, None, None)
        )
