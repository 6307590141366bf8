"""Nonces and size streams, which are made in blocks, against the formulas they stand for."""

import itertools

import pytest
from Crypto.Hash import SHAKE128

from trio_vmess.core.vmess.chunk import build_size_stream, count_nonces
from trio_vmess.core.vmess.constants import Command, Option, Security
from trio_vmess.core.vmess.dialect import V2RAY
from trio_vmess.core.vmess.security import choose_framing

IV = bytes(range(100, 116))
COUNT = 3000


def test_nonces_count_and_wrap() -> None:
    count = 2 * 65_536 + 1000
    expected = ((number & 0xFFFF).to_bytes(2, "big") + IV[2:12] for number in range(count))
    assert list(itertools.islice(count_nonces(IV), count)) == list(expected)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_size_stream_takes_its_numbers_in_order(masked: bool, padded: bool) -> None:
    options = Option.CHUNK_STREAM | (Option.MASK if masked or padded else 0)
    options |= Option.PADDING if padded else 0
    # Padding without a mask is what sealed sizes leave.
    options |= Option.AUTHENTICATED_LENGTH if padded and not masked else 0
    framing = choose_framing(options, Security.AES_128_GCM, Command.TCP, V2RAY)
    assert (framing.masked, framing.padded) == (masked, padded)
    stream = SHAKE128.new(IV)

    def number() -> int:
        return int.from_bytes(stream.read(2), "big")

    expected = [(number() % 64 if padded else 0, number() if masked else 0) for _ in range(COUNT)]
    assert list(itertools.islice(build_size_stream(IV, framing), COUNT)) == expected
