"""A recording as a file: its first bytes say what kind it is, and are read again with the rest."""

from typing import BinaryIO, Final

_MAGIC_SIZE: Final = 4
_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"
_PCAP: Final = (
    *(b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1"),  # microseconds
    *(b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1"),  # nanoseconds
)
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zX", b"BZh")


class Source:
    """A file that is read once, from its beginning; it need not be seekable.

    Args:
        file: positioned there.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._head = file.read(_MAGIC_SIZE)

    @property
    def is_pcapng(self) -> bool:
        """Whether it begins like a capture of the newer kind."""
        return self._head == _PCAPNG

    @property
    def is_capture(self) -> bool:
        """Whether it begins like a capture of tcpdump or Wireshark."""
        return self.is_pcapng or self._head in _PCAP

    @property
    def is_compressed(self) -> bool:
        """Whether it begins like a file of gzip, Zstandard, xz or bzip2."""
        return self._head.startswith(_COMPRESSED)

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end of the file."""
        head, self._head = self._head[:size], self._head[size:]
        return head + self._file.read(size - len(head))

    def readline(self, limit: int) -> bytes:
        """Return a line with its end, or so many bytes of a longer one."""
        line, newline, rest = self._head.partition(b"\n")
        self._head = rest
        if newline:
            return line + newline
        return line + self._file.readline(limit - len(line))
