"""The fuzz target of HTTP/2 holds on a few examples, and understands its seeds."""

from hypothesis import given, settings

from tests.fuzz import fuzz_http2
from tests.fuzz.engine import mutated
from tests.kit.vectors import for_each


@settings(max_examples=50)
@given(mutated(fuzz_http2.SEEDS))
def test_both_ends_keep_their_invariants(data: bytes) -> None:
    fuzz_http2.check(data)


@for_each(fuzz_http2.SEEDS, name=repr)
def test_a_seed_is_a_conversation(seed: bytes) -> None:
    outcome = fuzz_http2.converse(seed[1:], is_client=seed[:1] == b"c", step=1000)
    assert outcome.error is None
    assert any(outcome.read.values())
