"""Eras: 32 seconds each of the table behind the legacy header, and the numbering of ids in them.

An era is a power of two of `bytearray` buckets with some 64 to 128 entries of 6 bytes:
2 fingerprint of the hash | 1 second within the era | 3 slot, the number of the id.
Four other bytes of the hash choose the bucket. What a search finds is only a candidate: the HMAC is
computed again for that id and second and compared in full. A false candidate (a removed user, a
chance match, a match across two entries) costs one comparison and has no other effect.
"""

import struct
import sys
from collections.abc import Iterable
from itertools import chain
from typing import Final

import attrs

from trio_vmess.core.crypto import HmacState, equal, hmac_md5_many
from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import encode_timestamp

ERA_BITS: Final = 5
ERA_SECONDS: Final = 1 << ERA_BITS
_ENTRY_SIZE: Final = 6
_HASH_SIZE: Final = 16
_BUCKET_ENTRIES: Final = 128
_BLOCK: Final = 4096
"""Ids per turn of the building loop: bounds its temporary memory to some 500 KB."""


@attrs.define(eq=False)
class Roster:
    """The numbering of ids: a slot each, in the order in which they came.

    Attributes:
        owners: whose id it is, by slot; None once the user was removed.
        states: the HMAC under the id, by slot; None likewise.
        slots: which slots a user has, by `user_id`.
        unused_count: how many slots are None.
    """

    owners: list[Account | None] = attrs.field(factory=list[Account | None])
    states: list[HmacState | None] = attrs.field(factory=list[HmacState | None])
    slots: dict[bytes, range] = attrs.field(factory=dict[bytes, range])
    unused_count: int = 0

    def add(self, account: Account, states: list[HmacState]) -> None:
        """Give the ids of an account the next slots."""
        start = len(self.owners)
        self.owners += [account] * len(states)
        self.states += states
        self.slots[account.user_id] = range(start, start + len(states))

    def remove(self, user_id: bytes) -> None:
        """Empty the slots of a user, who must have some."""
        place = self.slots.pop(user_id)
        unused = [None] * len(place)
        self.owners[place.start : place.stop] = unused
        self.states[place.start : place.stop] = unused
        self.unused_count += len(place)

    def renumbered(self) -> "Roster":
        """Return a roster without the unused slots."""
        roster = Roster()
        for place in self.slots.values():
            account = self.owners[place.start]
            states = self.states[place.start : place.stop]
            if account is not None:
                roster.add(account, [state for state in states if state is not None])
        return roster


@attrs.define(eq=False, init=False)
class Era:
    """Thirty-two seconds of the table.

    Attributes:
        start: its first second.
        roster: the numbering its entries use.
        laid_out_for: for how many ids there are buckets.
        covered: by second within the era, how many slots have been dealt with.
    """

    start: int
    roster: Roster
    laid_out_for: int
    covered: list[int]
    _buckets: list[bytearray]
    _mask: int

    def __init__(self, start: int, roster: Roster) -> None:
        self.start = start
        self.roster = roster
        self.laid_out_for = max(len(roster.owners) - roster.unused_count, 16)
        self.covered = [0] * ERA_SECONDS
        wanted = self.laid_out_for * ERA_SECONDS // _BUCKET_ENTRIES
        count = 1 << (wanted - 1).bit_length()
        self._buckets = [bytearray() for _ in range(count)]
        self._mask = count - 1

    def shrink(self, count: int) -> int:
        """Free at most so many buckets of an era that is not used any more; returns how many."""
        count = min(count, len(self._buckets))
        del self._buckets[len(self._buckets) - count :]
        return count

    def is_complete(self, second: int) -> bool:
        """Whether all ids are in this second, which must be the era's."""
        return self.covered[second - self.start] == len(self.roster.owners)

    def build(self, second: int, budget: int) -> int:
        """Go on with a second, for at most `budget` slots; returns for how many."""
        place = second - self.start
        begin = self.covered[place]
        end = min(begin + budget, len(self.roster.owners))
        message = encode_timestamp(second)
        for start in range(begin, end, _BLOCK):
            self._build_block(place, message, start, min(start + _BLOCK, end))
        self.covered[place] = end
        return end - begin

    def _build_block(self, place: int, message: bytes, start: int, stop: int) -> None:
        # Every step works on the whole block at once, in C: tens of thousands of entries are made
        # each second, for ever.
        slots: Iterable[int] = range(start, stop)
        states = self.roster.states[start:stop]
        if self.roster.unused_count:
            slots = [slot for slot, state in zip(slots, states, strict=True) if state is not None]
        alive = [state for state in states if state is not None]
        count = len(alive)
        digests = b"".join(hmac_md5_many(alive, message))
        # Strided copies lay out thousands of entries at once, at 0.03 µs each: byte n of every
        # entry is one slice. Bytes 4 and 5 of a digest are its fingerprint.
        numbers = struct.pack(f">{count}I", *slots)
        entries = bytearray(_ENTRY_SIZE * count)
        entries[0::_ENTRY_SIZE] = digests[4::_HASH_SIZE]
        entries[1::_ENTRY_SIZE] = digests[5::_HASH_SIZE]
        entries[2::_ENTRY_SIZE] = bytes((place,)) * count
        # A slot fits three bytes of the four that were packed.
        entries[3::_ENTRY_SIZE] = numbers[1::4]
        entries[4::_ENTRY_SIZE] = numbers[2::4]
        entries[5::_ENTRY_SIZE] = numbers[3::4]
        # Bytes 0 to 3 choose the bucket, as a number in the machine's own byte order; `find` reads
        # them in the same way.
        words_per_hash = _HASH_SIZE // 4
        indices = map(self._mask.__and__, memoryview(digests).cast("I")[::words_per_hash].tolist())
        pieces = chain.from_iterable(struct.iter_unpack(f"{_ENTRY_SIZE}s", entries))
        for bucket, piece in zip(map(self._buckets.__getitem__, indices), pieces, strict=True):
            bucket += piece

    def find(self, user_hash: bytes, low: int, high: int) -> tuple[Account, int] | None:
        """Return whose hash it is and of which second, from `low` to `high`."""
        bucket = self._buckets[int.from_bytes(user_hash[:4], sys.byteorder) & self._mask]
        fingerprint = user_hash[4:6]
        position = bucket.find(fingerprint)
        while position >= 0:
            # A match elsewhere lies across two entries.
            if position % _ENTRY_SIZE == 0:
                second = self.start + bucket[position + 2]
                slot = int.from_bytes(bucket[position + 3 : position + _ENTRY_SIZE], "big")
                state, account = self.roster.states[slot], self.roster.owners[slot]
                if state is not None and account is not None and low <= second <= high:
                    (digest,) = hmac_md5_many((state,), encode_timestamp(second))
                    if equal(digest, user_hash):
                        return account, second
            position = bucket.find(fingerprint, position + 1)
        return None
