"""The fuzz target holds on a few examples, and can fail."""

import pytest
from hypothesis import given

from tests.fuzz import fuzz_sniff
from tests.fuzz.engine import mutated
from trio_vmess.core import NEED_DATA
from trio_vmess.core.sniff import Sniffed, Verdict


@given(mutated(fuzz_sniff.SEEDS))
def test_the_sniffers_keep_their_invariants(data: bytes) -> None:
    fuzz_sniff.check(data)


def test_a_verdict_that_changes_is_noticed() -> None:
    verdicts: dict[str, Verdict] = {"a": NEED_DATA, "b": Sniffed(protocol="tls"), "c": None}
    fuzz_sniff._check_beginnings("ab", verdicts.__getitem__)
    with pytest.raises(ValueError, match="became"):
        fuzz_sniff._check_beginnings("abc", verdicts.__getitem__)


@pytest.mark.parametrize("domain", ["", "A.example", "a b", "a\n", "bücher.example", "a" * 254])
def test_a_strange_domain_is_noticed(domain: str) -> None:
    with pytest.raises(ValueError, match="no domain"):
        fuzz_sniff._check_found(Sniffed(protocol="tls", domain=domain))
