"""Lines of a log that repeat themselves: the first few in full, and then one that counts the rest.

Whoever is refused costs a line, and so does every dial that fails; both can happen as often as
somebody likes. Lines that can be repeated are known by their form. After the event comes whom they
are about: `source=%s`, `server=%s`, `tag=%s` or `user=%s`. Then come `reason=%r` and `user=%s`, if
the line has them, and then what no two lines need have in common, as in

    dispatch.unreachable source=%s reason=%r user=%s %s detail=%s

All other lines pass.

Within a minute, each source (or server, or tag) and user is written about `FIRST_OF_SOURCE` times
for the same event and reason, and each event and reason `FIRST_OF_REASON` times, whoever it is
about. When the minute ends, one line for each of them says `repeated=N`, and one for each reason
what is about further ones. So memory and lines are bounded, however many strangers there are.
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
"""Lines in a window that are written in full for one event, reason, source and user."""

FIRST_OF_REASON: Final = 100
"""Lines in a window that are written in full for one event and reason."""

REASONS_MAX: Final = 16
"""Reasons of an event that are told apart in a window; further ones count as one."""

FURTHER_REASONS: Final = "further reasons"

_REASON_SIZE_MAX: Final = 200
_REPEATABLE: Final = re.compile(
    r"(?P<event>\S+) (?P<subject>source|server|tag|user)=%[sra]"
    r"(?P<reason> reason=%[sra])?(?P<user> user=%[sra])?(?= |$)"
)
_TEMPLATES_MAX: Final = 256

_Kind: TypeAlias = tuple[str, str]
"""An event and its reason, which is empty where lines have none."""


@attrs.frozen
class _Form:
    """How the lines of a template begin.

    Attributes:
        event: what has happened.
        subject: the name of the first field: whom it is about.
        has_reason: whether the reason comes next.
        has_user: whether the user's name comes then.
    """

    event: str
    subject: str
    has_reason: bool
    has_user: bool

    def read(self, record: logging.LogRecord) -> tuple[str, str, str] | None:
        """Return whom a line is about, the reason and the user; None if arguments are missing."""
        args = record.args
        if not isinstance(args, tuple) or len(args) <= self.has_reason + self.has_user:
            return None
        return (
            str(args[0]),
            str(args[1])[:_REASON_SIZE_MAX] if self.has_reason else "",
            str(args[1 + self.has_reason]) if self.has_user else "",
        )

    def begin(self, record: logging.LogRecord, reason: str, subject: str, user: str) -> "_Repeats":
        """Return what begins with a line; the user is empty for all of them."""
        text = f"{self.event} {self.subject}={subject}"
        if reason:
            text += f" reason={reason!r}"
        if user:
            text += f" user={user}"
        return _Repeats(text, record.name, record.levelno)


@attrs.define(eq=False)
class _Repeats:
    """What repeats itself.

    Attributes:
        text: the fields that all of it has in common.
        logger: the first line's.
        level: the first line's.
        written: how many were written in full.
        held_back: how many were not.
    """

    text: str
    logger: str
    level: int
    written: int = 0
    held_back: int = 0

    def summary(self) -> logging.LogRecord:
        """Return the line for what was held back."""
        text = f"{self.text} repeated={self.held_back}"
        return logging.LogRecord(self.logger, self.level, __file__, 0, text, None, None)


class RepeatLimiter:
    """Decides which lines are written, and sums up the others.

    Times are seconds of a clock that only goes forward.
    """

    def __init__(self) -> None:
        self._forms: dict[str, _Form | None] = {}
        self._by_source: dict[tuple[str, str, _Kind], _Repeats] = {}
        self._by_kind: dict[_Kind, _Repeats] = {}
        self._reason_counts: dict[str, int] = {}
        self._due: float | None = None
        self._overdue: list[logging.LogRecord] = []

    @property
    def due(self) -> float | None:
        """When to ask for `summaries`; None while there is nothing to sum up."""
        return self._due

    def admits(self, record: logging.LogRecord, now: float) -> bool:
        """Decide whether a line is to be written in full."""
        form = self._form_of(record)
        fields = None if form is None else form.read(record)
        if form is None or fields is None:
            return True
        if self._due is None:
            self._due = now + WINDOW
        elif now >= self._due:
            self._overdue += self._sum_up()
            self._due = now + WINDOW
        subject, reason, user = fields
        kind = self._kind_of(form.event, reason)
        of_kind = self._by_kind.get(kind)
        if of_kind is None:
            of_kind = self._by_kind[kind] = form.begin(record, kind[1], "many", "")
        key = (_group_of(subject) if form.subject == "source" else subject, user, kind)
        of_source = self._by_source.get(key)
        is_spent = of_kind.written >= FIRST_OF_REASON
        if of_source is None:
            if is_spent:
                of_kind.held_back += 1
                return False
            of_source = self._by_source[key] = form.begin(record, kind[1], subject, user)
        elif is_spent or of_source.written >= FIRST_OF_SOURCE:
            of_source.held_back += 1
            return False
        of_source.written += 1
        of_kind.written += 1
        return True

    def _kind_of(self, event: str, reason: str) -> _Kind:
        """Return the kind of a line; reasons may contain what strangers have sent."""
        kind = (event, reason)
        if kind in self._by_kind:
            return kind
        count = self._reason_counts.get(event, 0)
        if count >= REASONS_MAX:
            return event, FURTHER_REASONS
        self._reason_counts[event] = count + 1
        return kind

    def summaries(self, now: float) -> Sequence[logging.LogRecord]:
        """Return a line for all that was held back, once its window is over."""
        found, self._overdue = self._overdue, []
        if self._due is not None and now >= self._due:
            found += self._sum_up()
            self._due = None
        return found

    def _sum_up(self) -> list[logging.LogRecord]:
        repeated = (*self._by_source.values(), *self._by_kind.values())
        self._by_source.clear()
        self._by_kind.clear()
        self._reason_counts.clear()
        return [each.summary() for each in repeated if each.held_back]

    def _form_of(self, record: logging.LogRecord) -> _Form | None:
        """Return the form of a line that can be repeated; None for all others."""
        template = str(record.msg)
        try:
            return self._forms[template]
        except KeyError:
            match = _REPEATABLE.match(template)
            form = None
            if match is not None:
                has_reason, has_user = bool(match["reason"]), bool(match["user"])
                form = _Form(match["event"], match["subject"], has_reason, has_user)
            # Templates are constants of the program; other libraries may log texts.
            if len(self._forms) < _TEMPLATES_MAX:
                self._forms[template] = form
            return form


def _group_of(source: str) -> str:
    """Return who may be behind a source: an address, or of IPv6 the network of one customer."""
    host = source.rpartition(":")[0]
    if not host.startswith("["):
        return host
    try:
        return str(int(ipaddress.IPv6Address(host[1:-1])) >> 64)
    except ValueError:
        return host
