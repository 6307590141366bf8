"""Reads fields of a complete message."""


class MalformedError(Exception):
    """The data is not a message of this kind, whatever follows."""


class Cursor:
    """A position in a message, moved by reading. Numbers are big-endian.

    Args:
        data: the message.
    """

    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    @property
    def at_end(self) -> bool:
        """True if the whole message was read."""
        return self.position == len(self._data)

    def take(self, size: int) -> bytes:
        """Read `size` bytes.

        Raises:
            MalformedError: the message ends before.
        """
        stop = self.position + size
        if stop > len(self._data):
            raise MalformedError
        taken = self._data[self.position : stop]
        self.position = stop
        return taken

    def number(self, size: int) -> int:
        """Read a number of `size` bytes; raises as `take`."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """Read a number whose first two bits tell its size; raises as `take`.

        Source:
            RFC 9000 section 16.
        """
        first = self.number(1)
        size = (1 << (first >> 6)) - 1
        return (first & 0x3F) << 8 * size | self.number(size)

    def skip_zeros(self) -> None:
        """Step over zero bytes, if there are any."""
        rest = self._data[self.position :]
        self.position += len(rest) - len(rest.lstrip(b"\0"))
