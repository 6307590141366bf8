"""Randomness that repeats: an `Entropy` whose every draw follows from its seed."""

import random


class SeededEntropy:
    """A deterministic `trio_vmess.core.entropy.Entropy`; two with one seed draw the same.

    Args:
        seed: any int.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def token_bytes(self, nbytes: int, /) -> bytes:
        """Return the next `nbytes` bytes."""
        return self._random.randbytes(nbytes)

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        """Return the next int in `range(exclusive_upper_bound)`.

        Raises:
            ValueError: the bound is not positive, as with the stdlib `secrets`.
        """
        if exclusive_upper_bound <= 0:
            raise ValueError(f"upper bound must be positive, not {exclusive_upper_bound}")
        return self._random.randrange(exclusive_upper_bound)
