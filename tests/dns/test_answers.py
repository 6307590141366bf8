"""The cache: how long answers stay in it, how many, and in which order they are evicted."""

import socket

import hypothesis.strategies as st
from hypothesis import given

from tests.kit.name_server import addresses
from trio_vmess.dns.answers import NEGATIVE_TTL_MAX, TTL_MAX, Answer, AnswerCache, Query

HERE = tuple(addresses("192.0.2.1"))


def query_for(name: str, family: socket.AddressFamily = socket.AF_INET) -> Query:
    return Query(name, family)


def test_an_answer_is_cached_for_its_ttl() -> None:
    cache = AnswerCache()
    answer = Answer(addresses=HERE, ttl=60)
    cache.store(query_for("a.example"), answer, now=100)
    assert cache.find(query_for("a.example"), now=100) is answer
    assert cache.find(query_for("a.example"), now=159.9) is answer
    assert cache.find(query_for("a.example"), now=160) is None
    assert len(cache) == 0


def test_each_family_has_an_entry_of_its_own() -> None:
    cache = AnswerCache()
    cache.store(query_for("a.example"), Answer(addresses=HERE, ttl=60), now=0)
    assert cache.find(query_for("a.example", socket.AF_INET6), now=0) is None


def test_an_answer_with_a_ttl_of_0_is_not_cached() -> None:
    cache = AnswerCache()
    cache.store(query_for("a.example"), Answer(addresses=HERE, ttl=0), now=0)
    assert cache.find(query_for("a.example"), now=0) is None


def test_negative_and_positive_answers_have_a_longest_ttl() -> None:
    cache = AnswerCache()
    cache.store(query_for("no.example"), Answer(ttl=3600), now=0)
    assert cache.find(query_for("no.example"), now=NEGATIVE_TTL_MAX - 0.1) == Answer(ttl=3600)
    assert cache.find(query_for("no.example"), now=NEGATIVE_TTL_MAX) is None
    cache.store(query_for("yes.example"), Answer(addresses=HERE, ttl=10 * TTL_MAX), now=0)
    assert cache.find(query_for("yes.example"), now=TTL_MAX - 1) is not None
    assert cache.find(query_for("yes.example"), now=TTL_MAX) is None


def test_a_full_cache_evicts_the_least_recently_used_answer() -> None:
    cache = AnswerCache(2)
    for name in ("a", "b"):
        cache.store(query_for(name), Answer(addresses=HERE, ttl=60), now=0)
    assert cache.find(query_for("a"), now=1) is not None
    cache.store(query_for("c"), Answer(addresses=HERE, ttl=60), now=2)
    known = [name for name in "abc" if cache.find(query_for(name), now=3)]
    assert known == ["a", "c"]


def test_a_cache_of_size_0_keeps_nothing() -> None:
    cache = AnswerCache(0)
    cache.store(query_for("a"), Answer(addresses=HERE, ttl=60), now=0)
    assert len(cache) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 50), st.integers(0, 20)), max_size=60
    ),
    st.integers(1, 4),
)
def test_no_sequence_overfills_the_cache_or_yields_an_expired_answer(
    steps: list[tuple[str, int, int]], size: int
) -> None:
    cache = AnswerCache(size)
    stored: dict[str, float] = {}
    now = 0.0
    for name, ttl, wait in steps:
        now += wait
        cache.store(query_for(name), Answer(addresses=HERE, ttl=ttl), now)
        if ttl:
            stored[name] = now + ttl
        assert len(cache) <= size
        for each, expires in stored.items():
            if expires <= now:
                assert cache.find(query_for(each), now) is None
