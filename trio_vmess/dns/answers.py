"""Queries, answers, and their cache, which knows neither clocks nor servers."""

import socket
from collections import OrderedDict
from typing import Final

import attrs

from trio_vmess.core import IPAddress

TTL_MAX: Final = 86_400.0
"""Seconds: no answer is cached for more than a day, whatever its TTL says."""

NEGATIVE_TTL_MAX: Final = 30.0
"""Seconds for which "no such address" is cached at most: short, because new names appear."""

CACHE_SIZE: Final = 4096
"""Answers: a few MB when the cache is full."""


@attrs.frozen
class Query:
    """The question for the addresses of one name in one family.

    Attributes:
        name: in lower case, without a trailing dot.
        family: `AF_INET` or `AF_INET6`.
    """

    name: str
    family: socket.AddressFamily


@attrs.frozen(kw_only=True)
class Answer:
    """What a server answered.

    Attributes:
        addresses: in the server's order; empty if the name has none of the family.
        ttl: seconds for which the answer may be cached; 0 means not at all.
        origin: who answered, for people to read; two answers are equal whatever it says.
    """

    addresses: tuple[IPAddress, ...] = ()
    ttl: float = 0.0
    origin: str = attrs.field(default="", eq=False)


class AnswerCache:
    """Keeps answers for their TTL. When it is full, the least recently used answer goes.

    Args:
        size: how many answers it holds; 0 switches it off.
    """

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size = size
        self._answers: OrderedDict[Query, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, query: Query, now: float) -> Answer | None:
        """Return the cached answer, or None if there is none or its TTL has passed.

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
        """Cache an answer for its TTL, within `TTL_MAX` and `NEGATIVE_TTL_MAX`."""
        ttl = min(answer.ttl, TTL_MAX if answer.addresses else NEGATIVE_TTL_MAX)
        if ttl <= 0 or not self._size:
            return
        self._answers[query] = now + ttl, answer
        self._answers.move_to_end(query)
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)
