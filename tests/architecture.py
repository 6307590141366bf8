"""The table of rooms: who may import whom, and the checker that holds sources against it.

    python -m tests.architecture

prints the table of docs/architecture.md, which a test compares with this one. The checker is plain
code over a mapping from paths to sources, so the same functions judge the package as it is and
small made-up packages.
"""

import ast
import functools
import graphlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

PACKAGE: Final = "trio_vmess"
ROOT: Final = Path(__file__).parent.parent

Sources = Mapping[str, str]
"""Source texts by path, as in `trio_vmess/core/buffer.py`."""


@attrs.frozen(kw_only=True)
class Room:
    """What the modules of one room may import; the standard library is free but for `never`.

    Attributes:
        purpose: what is in it, for the manual.
        rooms: other rooms; `errors`, `lazy` and the room itself are always allowed.
        libraries: third-party libraries; `attrs` always is, those of `HOMES` have their own rule.
        never: modules of the standard library.
    """

    purpose: str
    rooms: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


ROOMS: Final[Mapping[str, Room]] = {
    "core": Room(
        purpose="protocols without I/O: VMess, Mux.Cool, carriage, SOCKS, HTTP, sniffing; values",
        never=(
            *("socket", "ssl", "select", "selectors", "asyncio", "threading", "signal"),
            *("time", "datetime", "random", "secrets", "os", "platform", "logging"),
            *("subprocess", "pathlib", "tempfile", "io", "importlib"),
        ),
    ),
    "contracts": Room(
        purpose="the shapes that the shell agrees on: transports, sides, links, in- and outbounds",
        rooms=("core",),
    ),
    "routing": Room(purpose="rules and balancers: which outbound takes a flow", rooms=("core",)),
    "config": Room(
        purpose="TOML, V2Ray's JSON, share links and flags, read into one frozen model",
        rooms=("core", "routing"),
    ),
    "opening": Room(
        purpose="what programs say to open a connection through a server, and the request for it",
        rooms=("core", "config"),
    ),
    "transport": Room(
        purpose="byte streams over sockets and Trio streams, datagrams, dialling",
        rooms=("core", "contracts"),
        libraries=("trio",),
    ),
    "relay": Room(
        purpose="the two pumps between a pair of connections, and byte counts",
        rooms=("core", "contracts"),
        libraries=("trio",),
    ),
    "dns": Room(
        purpose="resolvers: the machine's, fixed hosts, a cache, servers by UDP, TCP and HTTPS",
        rooms=("core", "contracts"),
        libraries=("trio",),
    ),
    "inbound": Room(
        purpose="protocols that accept requests: VMess, SOCKS, HTTP, dokodemo-door",
        rooms=("core", "contracts", "transport"),
        libraries=("trio",),
    ),
    "outbound": Room(
        purpose="protocols that dial: freedom, VMess, SOCKS, HTTP, blackhole",
        rooms=("core", "contracts", "transport"),
        libraries=("trio",),
    ),
    "fallback": Room(
        purpose="who answers strangers: a site of files, or a server elsewhere",
        rooms=("core", "contracts", "transport", "relay"),
        libraries=("trio",),
    ),
    "listen": Room(
        purpose="listening sockets: permanent, dynamic and UDP ports",
        rooms=("core", "contracts", "transport"),
        libraries=("trio",),
    ),
    "dispatch": Room(
        purpose="one connection from request to close, and its error boundary",
        rooms=("core", "contracts", "routing", "relay"),
        libraries=("trio",),
    ),
    "operations": Room(
        purpose="observing a running node: traffic counters, the control socket",
        rooms=("core", "contracts", "dispatch", "listen"),
        libraries=("trio",),
    ),
    "node": Room(
        purpose="settings become objects, and objects tasks; the only home of clock and entropy",
        rooms=(
            *("core", "contracts", "routing", "config", "opening", "transport", "relay", "dns"),
            *("inbound", "outbound", "fallback", "listen", "dispatch", "operations"),
        ),
        libraries=("trio",),
    ),
    "library": Room(
        purpose="what programs import: streams and datagrams through a server, a node of their own",
        rooms=("core", "contracts", "config", "opening", "transport", "node"),
        libraries=("trio",),
    ),
    "asyncio": Room(
        purpose="a stream through a server for programs on asyncio, which load no Trio",
        rooms=("core", "config", "opening"),
    ),
    "httpx": Room(
        purpose="requests of httpx through a server, on Trio and asyncio",
        rooms=("core", "config", "opening", "library", "asyncio"),
        libraries=("trio",),
    ),
    "testing": Room(
        purpose="for tests of programs that use the package: a fake server, streams in memory",
        rooms=("core", "opening", "transport", "library"),
        libraries=("trio",),
    ),
    "diagnosis": Room(
        purpose=(
            "how a connection would be routed, and why; what a recorded connection says; why a "
            "server cannot be used"
        ),
        rooms=(
            *("core", "contracts", "config", "routing", "transport", "dns", "outbound", "node"),
        ),
        libraries=("trio",),
    ),
    "bench": Room(
        purpose="nodes measured on this machine, ours and others': loads, and what they cost",
        rooms=("_version",),
    ),
    "cli": Room(
        purpose="commands, exit codes, signals, log files; the only `trio.run`",
        rooms=("core", "config", "node", "operations", "diagnosis", "bench", "_version"),
        libraries=("trio",),
    ),
    "errors": Room(purpose="every exception class of the package"),
    "lazy": Room(purpose="packages that load what they export when it is first used"),
    "_version": Room(purpose="the version"),
    "__main__": Room(purpose="`python -m trio_vmess`", rooms=("cli",)),
    "__init__": Room(
        purpose="the facade: what most programs need",
        rooms=("core", "config", "node", "library", "_version"),
    ),
}

_HTTPX: Final = ("trio_vmess.httpx",)
_CRYPTO: Final = ("trio_vmess.core.crypto",)

HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "Crypto": _CRYPTO,
    "cryptography": (*_CRYPTO, "trio_vmess.core.x509"),
    "fnv_hash_fast": _CRYPTO,
    "hashlib": _CRYPTO,
    "hmac": _CRYPTO,
    "_md5": _CRYPTO,
    "dns": ("trio_vmess.dns",),
    "dpkt": ("trio_vmess.diagnosis.decode.packets",),
    "anyio": _HTTPX,
    "httpcore": _HTTPX,
    "httpx": _HTTPX,
    "h11": ("trio_vmess.core.http", "trio_vmess.core.carriage.upgrade"),
    "hpack": ("trio_vmess.core.carriage.http2",),
    "pytest": ("trio_vmess.testing.fixtures",),
    "lmdb": ("trio_vmess.node.replay_store",),
    "re2": ("trio_vmess.routing.expressions",),
    "tomli": ("trio_vmess.config.toml", "trio_vmess.config.toml_locations"),
    "websockets": ("trio_vmess.core.carriage.websocket.mask",),
}
"""Libraries that live in one place each, whatever the room: the only modules that import them."""

EVERYWHERE: Final = frozenset({"attr", "attrs"})

FOREIGN_WORDS: Final = re.compile(
    "vmess|auth_?id|alter_?id|user_?hash|cmd_?key|body_?key", re.IGNORECASE
)
"""What a relay does not know."""


parse: Final = functools.lru_cache(maxsize=1024)(ast.parse)
"""The same few hundred sources are looked at by many rules."""


def modules_of(sources: Sources) -> dict[str, str]:
    """Return module names and their paths; a package goes by the name of its folder."""
    return {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in sources
    }


def _exports(path: str, name: str, sources: Sources) -> bool:
    """Tell whether a package's `__init__` takes `name` out of one of its modules."""
    return any(
        isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names)
        for node in parse(sources[path]).body
    )


def room_of(module: str) -> str:
    """Return the room that a module of the package lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path: str, sources: Sources) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that a source imports, deep inside functions, too.

    `from package import name` means the module `package.name` where there is one, unless the
    package exports something of that name, as `cli` does with `main`.
    """
    modules = modules_of(sources)
    for node in ast.walk(parse(sources[path])):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(level=level) if level:
                yield node.lineno, "." * level + (node.module or "")
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    is_module = inner in modules and not _exports(
                        modules.get(module, path), alias.name, sources
                    )
                    yield node.lineno, inner if is_module else module


def is_within(module: str, place: str) -> bool:
    """Say whether a module is `place` or lies in it."""
    return module == place or module.startswith(place + ".")


def judge(importer: str, imported: str, modules: Mapping[str, str]) -> str | None:
    """Return what is wrong about one import, or None."""
    room_name = room_of(importer)
    room = ROOMS[room_name]
    if imported.startswith("."):
        return f"a relative import: {imported}"
    top = imported.partition(".")[0]
    if top in HOMES:
        homes = HOMES[top]
        if not any(is_within(importer, home) for home in homes):
            return f"{top} lives in {' and '.join(homes)}"
        return None
    if top != PACKAGE:
        if top in sys.stdlib_module_names:
            return f"{room_name} never imports {top}" if top in room.never else None
        if top in EVERYWHERE or top in room.libraries:
            return None
        return f"{room_name} may not import {top}"
    target = room_of(imported)
    if target in (room_name, "errors", "lazy"):
        return None
    if target not in room.rooms:
        return f"{room_name} may not import {target}"
    path = modules.get(imported)
    if path is None:
        return f"there is no module {imported}"
    # A room that is one file has no package in front of it.
    if not path.endswith("/__init__.py") and imported.count(".") > 1:
        return f"import the package, not its module {imported}"
    return None


def find_violations(sources: Sources) -> list[str]:
    """Return all that breaks the table, as `path:line: what`."""
    modules = modules_of(sources)
    found = []
    for module, path in sorted(modules.items()):
        room = room_of(module)
        if room not in ROOMS:
            found.append(f"{path}:1: there is no room {room!r}")
            continue
        for line, imported in imports_of(path, sources):
            if problem := judge(module, imported, modules):
                found.append(f"{path}:{line}: {problem}")
        if room == "relay":
            for number, text in enumerate(sources[path].splitlines(), 1):
                if word := FOREIGN_WORDS.search(text.replace(PACKAGE, "")):
                    found.append(f"{path}:{number}: relay knows no {word[0]}")
    return list(dict.fromkeys(found))


def find_cycle(sources: Sources) -> list[str]:
    """Return modules that import each other in a circle, or nothing."""
    modules = modules_of(sources)
    graph = {
        module: {name for _, name in imports_of(path, sources) if name in modules}
        for module, path in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        cycle: list[str] = exc.args[1]
        return cycle
    return []


def find_dead_permissions(sources: Sources) -> list[str]:
    """Return what the table allows and nothing uses, as `room: what`."""
    modules = modules_of(sources)
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    homes: set[tuple[str, str]] = set()
    for module, path in modules.items():
        for _, imported in imports_of(path, sources):
            top = imported.partition(".")[0]
            used[room_of(module)].add(room_of(imported) if top == PACKAGE else top)
            homes |= {(top, home) for home in HOMES.get(top, ()) if is_within(module, home)}
    return [
        *(
            f"{name}: {permission}"
            for name, room in ROOMS.items()
            for permission in (*room.rooms, *room.libraries)
            if permission not in used[name]
        ),
        *(
            f"{home}: {library}"
            for library, places in HOMES.items()
            for home in places
            if (library, home) not in homes
        ),
    ]


def present_sources() -> Sources:
    """Return the package as it is."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
        for path in sorted((ROOT / PACKAGE).rglob("*.py"))
    }


def format_table() -> str:
    """Return the table of rooms as Markdown."""

    def words(names: tuple[str, ...]) -> str:
        return ", ".join(f"`{name}`" for name in names) or "nothing"

    lines = ["| room | what is in it | may import |", "|---|---|---|"]
    for name, room in ROOMS.items():
        homes = tuple(
            library + (f" in `{home.removeprefix(PACKAGE + '.')}`" if home.count(".") > 1 else "")
            for library, places in HOMES.items()
            for home in places
            if room_of(home) == name
        )
        allowed = words(room.rooms)
        libraries = ", ".join((*room.libraries, *homes))
        lines.append(
            f"| `{name}` | {room.purpose} | {allowed}{f'; {libraries}' if libraries else ''} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(format_table() + "\n")
