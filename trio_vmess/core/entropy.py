"""Where randomness comes from: always from outside."""

from typing import Protocol


class Entropy(Protocol):
    """A source of unpredictable bytes and numbers.

    The stdlib module `secrets` satisfies this protocol as it is; tests pass a seeded one.
    """

    def token_bytes(self, nbytes: int, /) -> bytes:
        """Return `nbytes` random bytes."""
        ...

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        """Return a random int, uniform in `range(exclusive_upper_bound)`."""
        ...
