"""Questions, answers, and a memory for them that knows neither clocks nor servers."""

import socket
from collections import OrderedDict
from typing import Final

import attrs

from trio_vmess.core import IPAddress

TTL_MAX: Final = 86_400.0
"""Seconds: an answer is asked for again after a day, whatever its sender wished."""

NEGATIVE_TTL_MAX: Final = 30.0
"""Seconds for which it is remembered that a name has no address: short, for new names appear."""

CACHE_SIZE: Final = 4096
"""Answers: a few MB when all of them are there."""


@attrs.frozen
class Query:
    """One name, one family.

    Attributes:
        name: in lower case, without a dot at the end.
        family: `AF_INET` or `AF_INET6`.
    """

    name: str
    family: socket.AddressFamily


@attrs.frozen(kw_only=True)
class Answer:
    """What a server said.

    Attributes:
        addresses: in the server's order; none if the name has none of the family.
        ttl: seconds for which it may be remembered; 0 for not at all.
        origin: who said so, for people to read; it makes no difference.
    """

    addresses: tuple[IPAddress, ...] = ()
    ttl: float = 0.0
    origin: str = attrs.field(default="", eq=False)


class AnswerCache:
    """Remembers answers until their time is over, the last used ones if there is no room for all.

    Args:
        size: how many.
    """

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size = size
        self._answers: OrderedDict[Query, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, query: Query, now: float) -> Answer | None:
        """Return the answer, or None if there is none that is still good.

        Args:
            query: as it was stored.
            now: seconds of any clock that does not go back.
        """
        found = self._answers.get(query)
        if found is None:
            return None
        expires, answer = found
        if expires <= now:
            del self._answers[query]
            return None
        self._answers.move_to_end(query)
        return answer

    def store(self, query: Query, answer: Answer, now: float) -> None:
        """Remember an answer for as long as it may be, within our own limits."""
        ttl = min(answer.ttl, TTL_MAX if answer.addresses else NEGATIVE_TTL_MAX)
        if ttl <= 0 or not self._size:
            return
        self._answers[query] = now + ttl, answer
        self._answers.move_to_end(query)
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)
