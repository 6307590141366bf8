"""The buffer that all conversations receive through."""

import pytest

from trio_vmess.core import ReceiveBuffer
from trio_vmess.errors import LocalProtocolError, RemoteProtocolError


def test_peek_looks_and_take_consumes() -> None:
    buffer = ReceiveBuffer(10)
    buffer.append(b"abc")
    buffer.append(memoryview(b"de"))
    assert (buffer.peek(2), buffer.peek(), len(buffer)) == (b"ab", b"abcde", 5)
    assert (buffer.find(b"cd"), buffer.find(b"x")) == (2, -1)
    assert (buffer.take(2), buffer.take(), len(buffer)) == (b"ab", b"cde", 0)


def test_no_more_can_be_taken_than_there_is() -> None:
    buffer = ReceiveBuffer(10)
    buffer.append(b"ab")
    with pytest.raises(ValueError, match="only 2 are there"):
        buffer.take(3)
    assert buffer.peek(3) == b"ab"


def test_bytes_beyond_the_limit_are_not_stored() -> None:
    buffer = ReceiveBuffer(3)
    buffer.append(b"ab")
    with pytest.raises(RemoteProtocolError, match="4 unparsed bytes; the limit is 3"):
        buffer.append(b"cd")
    buffer.append(b"c")
    assert buffer.take() == b"abc"


@pytest.mark.parametrize("explicitly", [True, False])
def test_nothing_can_follow_the_end(explicitly: bool) -> None:
    buffer = ReceiveBuffer(10)
    buffer.append(b"ab")
    assert not buffer.ended
    if explicitly:
        buffer.append_eof()
    else:
        buffer.append(b"")
    assert buffer.ended
    with pytest.raises(LocalProtocolError, match="ended"):
        buffer.append(b"c")
    buffer.append(b"")
    buffer.append_eof()
    assert buffer.take() == b"ab"
