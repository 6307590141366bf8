"""The cost of the user registry: AEAD users, the legacy table, the replay cache.

    python benchmarks/registry.py [section ...]

Each section runs in a process of its own, so that the memory shown is that of a server with this
registry, interpreter and imports included. Times are the best of several rounds: wall time for
single calls, CPU time for building tables. Takes about a minute.
"""

import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from trio_vmess.core.vmess.account import Account
from trio_vmess.core.vmess.auth import derive_auth_id_key, derive_user_hash, seal_auth_id
from trio_vmess.core.vmess.clock_search import ClockSearch
from trio_vmess.core.vmess.replay import ReplayCache
from trio_vmess.core.vmess.users import RECENT_USERS_MAX, UserRegistry

NOW = 1_700_000_000
SOURCE = "192.0.2.1"
CHOICE = random.Random(1)


def memory(field: str = "VmRSS") -> float:
    """Return a figure of this process in MB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(field)


def row(what: str, figure: float, unit: str) -> None:
    print(f"  {what:<58}{figure:>10.2f} {unit}")


def microseconds(call: Callable[[bytes], object], arguments: Sequence[bytes]) -> float:
    """Return the duration of one call, in the best of five rounds over all arguments."""
    rounds = []
    for _ in range(5):
        begin = time.perf_counter()
        for argument in arguments:
            call(argument)
        rounds.append(time.perf_counter() - begin)
    return min(rounds) / len(arguments) * 1e6


def make_accounts(count: int, alter_id_count: int) -> list[Account]:
    return [
        Account(user_id=CHOICE.randbytes(16), alter_id_count=alter_id_count) for _ in range(count)
    ]


def aead() -> None:
    print("10 000 users, AEAD headers")
    accounts = make_accounts(10_000, 0)
    before, begin = memory(), time.process_time()
    registry = UserRegistry(accounts)
    row("set up", (time.process_time() - begin) * 1e3, "ms CPU")
    row("memory that the registry adds", memory() - before, "MB")
    row("memory of the process", memory(), "MB")

    def ids(account: Account) -> list[bytes]:
        key = derive_auth_id_key(account.cmd_key)
        return [seal_auth_id(key, NOW, CHOICE.randbytes(4)) for _ in range(50)]

    def find(auth_id: bytes) -> object:
        return registry.find_auth_id(auth_id, now=NOW)

    last = accounts[-1]
    row("last of all users, not seen before", microseconds(find, ids(last)), "µs")
    unknown = [CHOICE.randbytes(16) for _ in range(50)]
    row("unknown user, no recent users", microseconds(find, unknown), "µs")
    for account in accounts[-RECENT_USERS_MAX:-1]:
        registry.remember("192.0.2.2", account)
    registry.remember(SOURCE, last)
    row("most recent user", microseconds(find, ids(last)), "µs")
    row(
        "least recent of the recent users",
        microseconds(find, ids(accounts[-RECENT_USERS_MAX])),
        "µs",
    )
    row("unknown user", microseconds(find, unknown), "µs")

    def find_from(auth_id: bytes) -> object:
        return registry.find_auth_id(auth_id, now=NOW, source=SOURCE)

    row("last user from the same source", microseconds(find_from, ids(last)), "µs")


def legacy() -> None:
    print("1000 users, 64 alter ids each, legacy headers")
    accounts = make_accounts(1000, 64)
    begin = time.process_time()
    registry = UserRegistry(accounts)
    row("set up", (time.process_time() - begin) * 1e3, "ms CPU")
    row("memory before the table is built", memory(), "MB")
    seconds = 2 * registry.window + 1

    begin = time.process_time()
    found = registry.find_user_hash(derive_user_hash(accounts[0].alter_ids[9], NOW - 15), now=NOW)
    row("first request, 15 s off, with an empty table", time.process_time() - begin, "s CPU")
    if found is None:
        raise RuntimeError("an entry of the table was not found")
    begin, slices = time.process_time(), 0
    while not registry.prepare(NOW, budget=16_384):
        slices += 1
    spent = time.process_time() - begin
    row("build the rest", spent, "s CPU")
    row("  a slice of 16 384 HMACs", spent / slices * 1e3, "ms CPU")

    ticks, now = [], NOW
    for now in range(NOW + 1, NOW + 101):
        begin = time.process_time()
        while not registry.prepare(now, budget=16_384):
            pass
        ticks.append((time.process_time() - begin) * 1e3)
    row("each second of the window, mean of 100", sum(ticks) / len(ticks), "ms CPU")
    row("each second of the window, worst", max(ticks), "ms CPU")
    row(f"memory of the process ({seconds} s, {registry.legacy_id_count} ids)", memory(), "MB")
    row("memory of the process, highest ever", memory("VmHWM"), "MB")

    def find(user_hash: bytes) -> object:
        return registry.find_user_hash(user_hash, now=now)

    hits = [
        derive_user_hash(CHOICE.choice(account.alter_ids), now + CHOICE.randint(-120, 120))
        for account in accounts
    ]
    if None in map(find, hits):
        raise RuntimeError("an entry of the table was not found")
    row("lookup, hit", microseconds(find, hits), "µs")
    row("lookup, miss", microseconds(find, [CHOICE.randbytes(16) for _ in hits]), "µs")


def single() -> None:
    print("1 user, 4 alter ids, legacy headers")
    (account,) = make_accounts(1, 4)
    begin = time.perf_counter()
    registry = UserRegistry([account])
    row("set up", (time.perf_counter() - begin) * 1e6, "µs")
    before = memory()
    user_hash = derive_user_hash(account.alter_ids[2], NOW - 15)
    begin = time.perf_counter()
    registry.find_user_hash(user_hash, now=NOW)
    row("first request, 15 s off, with an empty table", (time.perf_counter() - begin) * 1e6, "µs")
    begin = time.perf_counter()
    registry.prepare(NOW, budget=1 << 20)
    row("build the rest", (time.perf_counter() - begin) * 1e6, "µs")
    row("memory that the table adds", (memory() - before) * 1024, "KB")

    def find(user_hash: bytes) -> object:
        return registry.find_user_hash(user_hash, now=NOW)

    row("lookup, hit", microseconds(find, [user_hash] * 1000), "µs")
    misses = [CHOICE.randbytes(16) for _ in range(1000)]
    row("lookup, miss", microseconds(find, misses), "µs")
    begin = time.perf_counter()
    for now in range(NOW + 1, NOW + 1001):
        registry.prepare(now, budget=1000)
    row("each second of the window", (time.perf_counter() - begin) * 1e3, "µs")

    spent = []
    search = ClockSearch(registry, bytes(16), NOW)
    done = False
    while not done:
        begin = time.perf_counter()
        done = search.step(5000)
        spent.append(time.perf_counter() - begin)
    row("search for a wrong clock, all", sum(spent) * 1e3, "ms")
    row("search for a wrong clock, worst slice of 5000", max(spent) * 1e3, "ms")


def replay() -> None:
    print("Replay cache, 1000 requests a second for 10 minutes")
    cache = ReplayCache(window=120)
    before = memory()
    keys = [
        (second, CHOICE.randbytes(16), CHOICE.randbytes(48))
        for second in range(600)
        for _ in range(1000)
    ]
    begin = time.perf_counter()
    for second, key, session in keys:
        now = NOW + second
        if not cache.admit(key=key, session=session, timestamp=now, now=now):
            raise RuntimeError("a new request was refused")
        cache.sweep(now, count=3)
    row("admit and sweep", (time.perf_counter() - begin) / len(keys) * 1e6, "µs")
    row(f"memory, inputs included: {cache}", memory() - before, "MB")


SECTIONS = {"aead": aead, "legacy": legacy, "single": single, "replay": replay}


def main(names: Sequence[str]) -> int:
    if len(names) == 1:
        if names[0] not in SECTIONS:
            print(f"sections: {', '.join(SECTIONS)}", file=sys.stderr)
            return 2
        SECTIONS[names[0]]()
        return 0
    codes = [
        subprocess.run([sys.executable, __file__, name], check=False).returncode
        for name in names or SECTIONS
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
