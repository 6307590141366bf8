"""The stored inputs hold, and are chosen and stored as they should be."""

from pathlib import Path

import pytest

from tests.fuzz.engine import load_target, target_names
from tests.fuzz.stored_inputs import (
    CORPORA,
    FILE_SIZE_MAX,
    INPUT_COUNT_MAX,
    Arc,
    minimise,
    read_corpus,
    trace,
    write_corpus,
)
from trio_vmess.core import parse_host


@pytest.mark.parametrize("name", target_names())
def test_the_stored_inputs_hold(name: str) -> None:
    check = load_target(name).check
    for data in read_corpus(name):
        check(data)


@pytest.mark.parametrize("name", target_names())
def test_a_corpus_is_small_and_in_order(name: str, tmp_path: Path) -> None:
    inputs = read_corpus(name)
    assert 0 < len(set(inputs)) == len(inputs) <= INPUT_COUNT_MAX
    path = CORPORA / f"{name}.txt"
    assert path.stat().st_size <= FILE_SIZE_MAX
    write_corpus(name, inputs, folder=tmp_path)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_every_corpus_has_a_target() -> None:
    assert sorted(path.stem for path in CORPORA.glob("*")) == target_names()


def test_inputs_are_read_as_they_were_written(tmp_path: Path) -> None:
    inputs = {b"", b"\n", b"\\", b"\\n", bytes(range(256)), "é\u2028".encode()}
    write_corpus("name", inputs, folder=tmp_path)
    assert set(read_corpus("name", folder=tmp_path)) == inputs
    assert read_corpus("another", folder=tmp_path) == []


def _parse(data: bytes) -> None:
    try:
        parse_host(data.decode("ascii"))
    except ValueError:
        return


def test_the_shortest_inputs_that_reach_something_are_chosen() -> None:
    inputs = [b"example.com", b"a", b"192.0.2.1", b"::1", b"[2001:db8::1]", b"[a]", b"[b]"]
    chosen = minimise(_parse, seeds=[], inputs=inputs)
    assert set(chosen) == {b"a", b"::1", b"[a]"}
    reached = set[Arc]().union(*(trace(_parse, data) for data in chosen))
    assert all(trace(_parse, data) <= reached for data in inputs)
    assert minimise(_parse, seeds=chosen, inputs=inputs) == []


def test_no_more_is_chosen_than_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [b"a" * 100, b"[2001:db8::1]", b"[a]"]
    assert len(minimise(_parse, seeds=[], inputs=inputs)) == 3
    monkeypatch.setattr("tests.fuzz.stored_inputs.INPUT_COUNT_MAX", 2)
    assert len(minimise(_parse, seeds=[], inputs=inputs)) == 2
    monkeypatch.setattr("tests.fuzz.stored_inputs.FILE_SIZE_MAX", 20)
    assert b"a" * 100 not in minimise(_parse, seeds=[], inputs=inputs)
