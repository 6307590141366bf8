"""The fuzz target holds on its seeds, and can fail."""

import pytest

from tests.fuzz import fuzz_carriage
from tests.fuzz.fuzz_carriage import NONCE, Outcome
from tests.kit.scripted_entropy import ScriptedEntropy
from trio_vmess.core.carriage import ProxyHeaderReader
from trio_vmess.core.carriage.upgrade import UpgradeClient, UpgradeRequest
from trio_vmess.core.carriage.websocket import Close


@pytest.mark.parametrize("seed", fuzz_carriage.SEEDS, ids=range(len(fuzz_carriage.SEEDS)))
def test_the_seeds_are_sound(seed: bytes) -> None:
    fuzz_carriage.check(seed)


def test_the_frames_of_the_seeds_are_understood() -> None:
    expected = Outcome(payload=bytes(300) + b"abc", found=Close(code=1000, reason="bye"))
    for seed, masked in zip(fuzz_carriage.SEEDS, (False, True), strict=False):
        assert fuzz_carriage.parse_frames(seed, masked=masked) == expected
        assert fuzz_carriage.read_frames(seed, masked=masked, step=1) == expected


def test_altered_payload_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_carriage, "read_frames", lambda *_, **__: Outcome(payload=b"b"))
    with pytest.raises(ValueError, match="not what the frames hold"):
        fuzz_carriage.check_frames(b"\x82\x01a", masked=False)


def test_a_fault_that_is_none_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_carriage, "read_frames", lambda *_, **__: Outcome(error="x"))
    with pytest.raises(ValueError, match="a fault that is none"):
        fuzz_carriage.check_frames(b"\x82\x01a", masked=False)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n",
    ],
)
def test_an_answer_that_is_none_is_noticed(answer: bytes) -> None:
    with pytest.raises((ValueError, TypeError), match=r"is no answer|is more than an answer"):
        fuzz_carriage.parse_answer(answer)


def test_a_reader_that_loses_bytes_is_noticed() -> None:
    class Careless(ProxyHeaderReader):
        @property
        def trailing_data(self) -> bytes:
            return super().trailing_data[1:]

    readers = iter([Careless(), ProxyHeaderReader(), ProxyHeaderReader()])
    with pytest.raises(ValueError, match="bytes were lost"):
        fuzz_carriage._compare(b"PROXY UNKNOWN\r\nrest", lambda: next(readers), has_trailing=True)


def test_a_verdict_that_depends_on_the_split_is_noticed() -> None:
    class Hasty(UpgradeClient):
        def receive_data(self, data: bytes | bytearray | memoryview) -> None:
            super().receive_data(data[:100])

    def build() -> UpgradeClient:
        return Hasty(UpgradeRequest(host="a"), entropy=ScriptedEntropy([NONCE]))

    with pytest.raises(ValueError, match=r"the split matters|bytes were lost"):
        fuzz_carriage._compare(fuzz_carriage._ANSWER, build, has_trailing=False)
