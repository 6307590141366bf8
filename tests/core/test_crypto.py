"""SHAKE-128 read piece by piece, by either library, against what is read at once."""

import hashlib

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from trio_vmess.core import crypto

SEED = bytes(range(16))
SIZES = [1, 168, 2048, 7, 4096]
EXPECTED = hashlib.shake_128(SEED).digest(10_000)


@pytest.mark.parametrize("skip", [0, 1, 168, 1000])
@pytest.mark.parametrize("reader", [crypto.shake128_reader, crypto.shake128_reader_slowly])
def test_a_reader_goes_on_where_it_was(reader: object, skip: int) -> None:
    assert callable(reader)
    read = reader(SEED, skip=skip)
    position = skip
    for size in SIZES:
        assert read(size) == EXPECTED[position : position + size]
        position += size


def test_an_old_openssl_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_algorithm: object) -> object:
        raise UnsupportedAlgorithm("this version of OpenSSL has no squeeze")

    monkeypatch.setattr(crypto, "XOFHash", refuse)
    assert crypto.shake128_reader(SEED, skip=100)(50) == EXPECTED[100:150]


def test_xor() -> None:
    assert crypto.xor(b"\x0f\xf0\x55", bytearray(b"\xff\xff\x55")) == b"\xf0\x0f\x00"
