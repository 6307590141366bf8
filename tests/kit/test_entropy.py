"""Seeded entropy satisfies the core's protocol and repeats."""

import pytest

from tests.kit.entropy import SeededEntropy
from trio_vmess.core.entropy import Entropy


def test_satisfies_the_protocol() -> None:
    entropy: Entropy = SeededEntropy(1)
    assert len(entropy.token_bytes(16)) == 16
    assert entropy.randbelow(1) == 0


def test_one_seed_gives_one_sequence() -> None:
    def draws(seed: int) -> list[object]:
        entropy = SeededEntropy(seed)
        return [entropy.token_bytes(8), entropy.randbelow(1000), entropy.token_bytes(3)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_randbelow_covers_its_range_and_no_more() -> None:
    entropy = SeededEntropy(0)
    assert {entropy.randbelow(4) for _ in range(200)} == {0, 1, 2, 3}


@pytest.mark.parametrize("bound", [0, -1])
def test_randbelow_refuses_an_empty_range(bound: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        SeededEntropy(0).randbelow(bound)
