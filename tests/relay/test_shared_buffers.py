"""The buffers of a node that nothing has passed through yet."""

import sys

import pytest

from trio_vmess.cli.garbage import resident_size
from trio_vmess.relay import SharedBuffers


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_buffers_take_no_memory_before_they_are_used() -> None:
    before = resident_size()
    sets = [SharedBuffers() for _ in range(40)]
    sizes = sum(each.received.nbytes + each.opened.nbytes + each.sealed.nbytes for each in sets)
    assert resident_size() - before < sizes / 4
    assert sizes > 80e6


def test_buffers_are_zeros_that_can_be_written() -> None:
    buffers = SharedBuffers()
    for each in (buffers.received, buffers.opened, buffers.sealed):
        assert not each.readonly
        assert not any(each)
        each[-3:] = b"end"
        assert bytes(each[-4:]) == b"\0end"
