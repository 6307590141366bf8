"""Lines of a log that repeat themselves: the first few in full, and then one that counts the rest.

Whoever is refused costs a line, and strangers can be refused as often as they like. What they can
repeat is known by the form of a line: after the event come `source=%s` and perhaps `reason=%r`, as
in `vmess.refused source=%s reason=%r`. All other lines pass.

Within a minute, each source is written about `FIRST_OF_SOURCE` times for the same event and reason,
and each event and reason `FIRST_OF_REASON` times, whatever the source. When the minute ends, one
line for each source says `repeated=N`, and one for each reason what came from further sources. So
memory and lines are bounded, however many strangers there are.
"""

import ipaddress
import logging
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

WINDOW: Final = 60.0
"""Seconds from the first line that can be repeated to the summary."""

FIRST_OF_SOURCE: Final = 5
"""Lines in a window that are written in full for one event, source and reason."""

FIRST_OF_REASON: Final = 100
"""Lines in a window that are written in full for one event and reason."""

REASONS_MAX: Final = 64
"""Events with their reasons that are told apart in a window; further ones count as one."""

_REASON_SIZE_MAX: Final = 200
_REPEATABLE: Final = re.compile(r"(\S+) source=%[sr](?: reason=%[sr])?(?= |$)")
_TEMPLATES_MAX: Final = 256

_Kind: TypeAlias = tuple[str, str]
"""An event and its reason."""

_OTHER: Final[_Kind] = ("log.repeated", "further events and reasons")


@attrs.define(eq=False)
class _Repeats:
    """What repeats itself.

    Attributes:
        record: the first of them, with its text in place of its arguments.
        written: how many were written in full.
        held_back: how many were not.
    """

    record: logging.LogRecord
    written: int = 0
    held_back: int = 0


class RepeatLimiter:
    """Decides which lines are written, and sums up the others.

    Times are seconds of a clock that only goes forward.
    """

    def __init__(self) -> None:
        self._events: dict[str, str] = {}
        self._by_source: dict[tuple[str, _Kind], _Repeats] = {}
        self._by_kind: dict[_Kind, _Repeats] = {}
        self._due: float | None = None
        self._overdue: list[logging.LogRecord] = []

    @property
    def due(self) -> float | None:
        """When to ask for `summaries`; None while there is nothing to sum up."""
        return self._due

    def admits(self, record: logging.LogRecord, now: float) -> bool:
        """Decide whether a line is to be written in full."""
        event = self._event_of(record)
        if not event:
            return True
        if self._due is None:
            self._due = now + WINDOW
        elif now >= self._due:
            self._overdue += self._sum_up()
            self._due = now + WINDOW
        source, reason = _source_and_reason(record)
        kind = (event, reason)
        of_source = self._by_source.get((source, kind))
        if of_source is not None:
            of_kind = self._by_kind[kind]
            if of_source.written >= FIRST_OF_SOURCE or of_kind.written >= FIRST_OF_REASON:
                of_source.held_back += 1
                return False
            of_source.written += 1
            of_kind.written += 1
            return True
        return self._admits_new_source(source, kind, record)

    def _admits_new_source(self, source: str, kind: _Kind, record: logging.LogRecord) -> bool:
        if kind not in self._by_kind and len(self._by_kind) >= REASONS_MAX:
            kind = _OTHER
        of_kind = self._by_kind.get(kind)
        if of_kind is None:
            of_kind = self._by_kind[kind] = _Repeats(_with_text(record, ""))
        if kind is _OTHER or of_kind.written >= FIRST_OF_REASON:
            of_kind.held_back += 1
            return False
        of_kind.written += 1
        self._by_source[source, kind] = _Repeats(_with_text(record, record.getMessage()), 1)
        return True

    def summaries(self, now: float) -> Sequence[logging.LogRecord]:
        """Return a line for all that was held back, once its window is over."""
        found, self._overdue = self._overdue, []
        if self._due is not None and now >= self._due:
            found += self._sum_up()
            self._due = None
        return found

    def _sum_up(self) -> list[logging.LogRecord]:
        found = [
            _with_text(each.record, f"{each.record.msg} repeated={each.held_back}")
            for each in self._by_source.values()
            if each.held_back
        ]
        for (event, reason), each in self._by_kind.items():
            if each.held_back:
                about = f" reason={reason!r}" if reason else ""
                text = f"{event} source=many{about} repeated={each.held_back}"
                found.append(_with_text(each.record, text))
        self._by_source.clear()
        self._by_kind.clear()
        return found

    def _event_of(self, record: logging.LogRecord) -> str:
        """Return the event of a line that can be repeated; empty for all others."""
        template = str(record.msg)
        event = self._events.get(template)
        if event is None:
            match = _REPEATABLE.match(template)
            event = "" if match is None or not isinstance(record.args, tuple) else match[1]
            # Templates are constants of the program; other libraries may log texts.
            if len(self._events) < _TEMPLATES_MAX:
                self._events[template] = event
        return event


def _source_and_reason(record: logging.LogRecord) -> tuple[str, str]:
    args: Sequence[object] = record.args if isinstance(record.args, tuple) else ()
    source = str(args[0]) if args else ""
    reason = str(args[1]) if len(args) > 1 and " reason=%" in str(record.msg) else ""
    return _group_of(source), reason[:_REASON_SIZE_MAX]


def _group_of(source: str) -> str:
    """Return who may be behind a source: an address, or of IPv6 the network of one customer."""
    host = source.rpartition(":")[0]
    if not host.startswith("["):
        return host
    try:
        return str(int(ipaddress.IPv6Address(host[1:-1])) >> 64)
    except ValueError:
        return host


def _with_text(record: logging.LogRecord, text: str) -> logging.LogRecord:
    """Return a new record with the same logger and level that keeps nothing alive."""
    return logging.LogRecord(
        record.name, record.levelno, record.pathname, record.lineno, text, None, None
    )
