"""The mask: the extension and what stands in for it, and keys that are drawn in batches."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.entropy import SeededEntropy
from trio_vmess.core.carriage.websocket.mask import (
    IS_FAST,
    apply_mask,
    apply_mask_slowly,
    draw_mask_keys,
)


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_masks_are_those_of_the_rfc(data: bytes, key: bytes) -> None:
    expected = bytes(byte ^ key[index % 4] for index, byte in enumerate(data))
    assert apply_mask(data, key) == expected
    assert apply_mask_slowly(data, key) == expected
    assert apply_mask_slowly(memoryview(data), key) == expected


def test_the_extension_is_there() -> None:
    assert IS_FAST, "these tests are to measure what users run: install websockets from a wheel"


def test_keys_come_in_batches_that_grow_to_a_limit() -> None:
    sizes: list[int] = []

    class CountingEntropy(SeededEntropy):
        def token_bytes(self, nbytes: int, /) -> bytes:
            sizes.append(nbytes)
            return super().token_bytes(nbytes)

    keys = list(itertools.islice(draw_mask_keys(CountingEntropy()), 3000))
    assert sizes == [64, 256, 1024, 4096, 4096, 4096]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) == len(keys)


def test_nothing_is_drawn_before_the_first_key() -> None:
    class NoEntropy(SeededEntropy):
        def token_bytes(self, nbytes: int, /) -> bytes:
            raise RuntimeError("not yet")

    keys = draw_mask_keys(NoEntropy())
    with pytest.raises(RuntimeError):
        next(keys)
