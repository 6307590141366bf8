"""Randomness of a recording: an `Entropy` that returns given values."""

from collections.abc import Iterable, Sequence


class ScriptedEntropy:
    """Answers draws in the order of two scripts.

    Args:
        chunks: for `token_bytes`; each must have the size that is asked for.
        numbers: for `randbelow`; each must be below the bound.
    """

    def __init__(self, chunks: Iterable[bytes] = (), numbers: Iterable[int] = ()) -> None:
        self._chunks = iter(chunks)
        self._numbers = iter(numbers)

    def token_bytes(self, nbytes: int, /) -> bytes:
        """Return the next chunk of the script."""
        chunk = next(self._chunks)
        if len(chunk) != nbytes:
            raise ValueError(f"{nbytes} bytes asked for, the script has {len(chunk)}")
        return chunk

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        """Return the next number of the script."""
        number = next(self._numbers)
        if not 0 <= number < exclusive_upper_bound:
            raise ValueError(f"{number} is not below {exclusive_upper_bound}")
        return number


class PaddingEntropy:
    """Gives a sealer the very paddings of a recording, whatever sizes of pool it draws.

    A sealer draws a pool, takes padding from its front and draws anew when too little is left.

    Args:
        paddings: one for each chunk that has any.
    """

    def __init__(self, paddings: Sequence[bytes]) -> None:
        self._paddings = [padding for padding in paddings if padding]
        self._given = 0

    def token_bytes(self, nbytes: int, /) -> bytes:
        """Return as many whole paddings as fit, filled up with zeros."""
        pool = b""
        while self._given < len(self._paddings):
            padding = self._paddings[self._given]
            if len(pool) + len(padding) > nbytes:
                break
            pool += padding
            self._given += 1
        return pool.ljust(nbytes, b"\0")

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        """A sealer draws no numbers."""
        raise AssertionError(f"randbelow({exclusive_upper_bound})")
