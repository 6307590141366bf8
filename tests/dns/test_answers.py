"""The memory for answers: how long, how many, and in which order they are forgotten."""

import socket

import hypothesis.strategies as st
from hypothesis import given

from tests.kit.name_server import addresses
from trio_vmess.dns.answers import NEGATIVE_TTL_MAX, TTL_MAX, Answer, AnswerCache, Query

HERE = tuple(addresses("192.0.2.1"))


def query(name: str, family: socket.AddressFamily = socket.AF_INET) -> Query:
    return Query(name, family)


def test_an_answer_is_known_until_its_time_is_over() -> None:
    cache = AnswerCache()
    answer = Answer(addresses=HERE, ttl=60)
    cache.store(query("a.example"), answer, now=100)
    assert cache.find(query("a.example"), now=100) is answer
    assert cache.find(query("a.example"), now=159.9) is answer
    assert cache.find(query("a.example"), now=160) is None
    assert len(cache) == 0


def test_families_are_different_questions() -> None:
    cache = AnswerCache()
    cache.store(query("a.example"), Answer(addresses=HERE, ttl=60), now=0)
    assert cache.find(query("a.example", socket.AF_INET6), now=0) is None


def test_what_may_not_be_remembered_is_not() -> None:
    cache = AnswerCache()
    cache.store(query("a.example"), Answer(addresses=HERE, ttl=0), now=0)
    assert cache.find(query("a.example"), now=0) is None


def test_no_is_remembered_shortly_and_yes_not_for_ever() -> None:
    cache = AnswerCache()
    cache.store(query("no.example"), Answer(ttl=3600), now=0)
    assert cache.find(query("no.example"), now=NEGATIVE_TTL_MAX - 0.1) == Answer(ttl=3600)
    assert cache.find(query("no.example"), now=NEGATIVE_TTL_MAX) is None
    cache.store(query("yes.example"), Answer(addresses=HERE, ttl=10 * TTL_MAX), now=0)
    assert cache.find(query("yes.example"), now=TTL_MAX - 1) is not None
    assert cache.find(query("yes.example"), now=TTL_MAX) is None


def test_without_room_the_answer_that_was_not_used_goes() -> None:
    cache = AnswerCache(2)
    for name in ("a", "b"):
        cache.store(query(name), Answer(addresses=HERE, ttl=60), now=0)
    assert cache.find(query("a"), now=1) is not None
    cache.store(query("c"), Answer(addresses=HERE, ttl=60), now=2)
    known = [name for name in "abc" if cache.find(query(name), now=3)]
    assert known == ["a", "c"]


def test_a_cache_without_room() -> None:
    cache = AnswerCache(0)
    cache.store(query("a"), Answer(addresses=HERE, ttl=60), now=0)
    assert len(cache) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 50), st.integers(0, 20)), max_size=60
    ),
    st.integers(1, 4),
)
def test_it_never_holds_too_much_nor_gives_what_is_too_old(
    steps: list[tuple[str, int, int]], size: int
) -> None:
    cache = AnswerCache(size)
    stored: dict[str, float] = {}
    now = 0.0
    for name, ttl, wait in steps:
        now += wait
        cache.store(query(name), Answer(addresses=HERE, ttl=ttl), now)
        if ttl:
            stored[name] = now + ttl
        assert len(cache) <= size
        for each, expires in stored.items():
            if expires <= now:
                assert cache.find(query(each), now) is None
