"""The pattern equals its pieces, whatever the size."""

import hashlib

import pytest

from tests.kit.pattern import PIECE_SIZE, pattern, pattern_pieces, pattern_sha256

PERIOD = 1_048_573


@pytest.mark.parametrize(
    "size", [0, 1, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, PERIOD, 2 * PERIOD + 7]
)
def test_size_and_hash(size: int) -> None:
    data = pattern(size)
    assert len(data) == size
    assert all(len(piece) <= PIECE_SIZE for piece in pattern_pieces(size))
    assert pattern_sha256(size) == hashlib.sha256(data).hexdigest()


def test_a_longer_pattern_begins_with_a_shorter_one_and_repeats() -> None:
    data = pattern(2 * PERIOD + 7)
    assert data.startswith(pattern(1000))
    assert data[PERIOD : 2 * PERIOD] == data[:PERIOD]
    assert data[:1024] != data[1024:2048]
