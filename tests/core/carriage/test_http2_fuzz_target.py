"""The fuzz target of HTTP/2 understands its seeds."""

from tests.fuzz import fuzz_http2
from tests.kit.vectors import for_each


@for_each(fuzz_http2.SEEDS, name=repr)
def test_a_seed_is_a_conversation(seed: bytes) -> None:
    outcome = fuzz_http2.converse(seed[1:], is_client=seed[:1] == b"c", step=1000)
    assert outcome.error is None
    assert any(outcome.read.values())
