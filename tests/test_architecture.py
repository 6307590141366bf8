"""Who may import whom: the table of docs/architecture.md, held against the syntax trees.

The checker is plain code over a mapping from paths to sources. So the same functions judge the
package as it is and the small made-up houses at the end, which prove that each rule bites.
"""

import ast
import graphlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import pytest

PACKAGE: Final = "trio_vmess"
ROOT: Final = Path(__file__).parent.parent

Sources = Mapping[str, str]
"""Source texts by path, as in `trio_vmess/core/buffer.py`."""


@attrs.frozen(kw_only=True)
class Room:
    """What the modules of one room may import; the standard library is free but for `never`.

    Attributes:
        rooms: other rooms; `errors` and the room itself are always allowed.
        libraries: third-party libraries; `attrs` always is, those of `HOMES` have their own rule.
        never: modules of the standard library.
    """

    rooms: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


_TRIO: Final = frozenset({"trio"})
_CORE: Final = frozenset({"core"})
_SHELL: Final = _CORE | {
    *("routing", "config", "streams", "relay", "contracts"),
    *("inbound", "outbound", "listen", "dispatch"),
}

ROOMS: Final[Mapping[str, Room]] = {
    "errors": Room(),
    "_version": Room(),
    "core": Room(
        never=frozenset(
            {
                *("socket", "ssl", "select", "selectors", "asyncio", "threading", "signal"),
                *("time", "datetime", "random", "secrets", "os", "platform", "logging"),
                *("subprocess", "pathlib", "tempfile", "io", "importlib"),
            }
        )
    ),
    "routing": Room(rooms=_CORE),
    "config": Room(rooms=_CORE),
    "streams": Room(rooms=_CORE | {"contracts"}, libraries=_TRIO),
    "relay": Room(rooms=_CORE | {"contracts"}, libraries=_TRIO),
    "contracts": Room(rooms=_CORE),
    "inbound": Room(rooms=_CORE | {"streams", "contracts"}, libraries=_TRIO),
    "outbound": Room(rooms=_CORE | {"streams", "contracts"}, libraries=_TRIO),
    "listen": Room(rooms=_CORE | {"streams", "contracts"}, libraries=_TRIO),
    "sniffing": Room(rooms=_CORE | {"contracts"}, libraries=_TRIO),
    "dispatch": Room(
        rooms=_CORE | {"routing", "relay", "sniffing", "streams", "contracts"}, libraries=_TRIO
    ),
    "assets": Room(),
    "dns": Room(rooms=_CORE | {"contracts"}, libraries=_TRIO),
    "stats": Room(rooms=_CORE | {"relay"}),
    "control": Room(rooms=_CORE | {"listen", "streams"}, libraries=_TRIO),
    "monitor": Room(rooms=_CORE | {"dispatch", "stats"}),
    "naming": Room(rooms=_CORE | {"config", "contracts", "dns", "outbound", "routing"}),
    "selection": Room(rooms=_CORE | {"contracts", "outbound", "routing"}, libraries=_TRIO),
    "rules": Room(
        rooms=_CORE | {"config", "contracts", "dispatch", "outbound", "routing", "selection"}
    ),
    "assemble": Room(rooms=_SHELL | {"stats"}, libraries=_TRIO),
    "app": Room(
        rooms=_SHELL | {"assemble", "assets", "control", "monitor", "naming", "rules", "selection"},
        libraries=_TRIO,
    ),
    "library": Room(rooms=_SHELL | {"assemble", "app"}, libraries=_TRIO),
    "embedded": Room(rooms=_CORE | {"config"}),
    "logs": Room(rooms=frozenset({"config"})),
    "demo": Room(rooms=_CORE | {"app", "config", "embedded"}, libraries=_TRIO),
    "bench": Room(rooms=_CORE | {"_version", "config"}),
    "arguments": Room(rooms=_CORE | {"_version", "config"}),
    "tables": Room(rooms=frozenset({"stats"})),
    "explain": Room(
        rooms=_CORE | {"app", "assets", "config", "dns", "outbound", "routing", "rules"}
    ),
    "cli": Room(
        rooms=_CORE
        | {"app", "arguments", "bench", "config", "control", "demo", "embedded", "explain"}
        | {"logs", "tables"},
        libraries=_TRIO,
    ),
    "__main__": Room(rooms=frozenset({"cli"})),
    "__init__": Room(rooms=_SHELL | {"_version", "app", "library"}),
}

_CRYPTO: Final = ("trio_vmess.core.crypto",)

HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "Crypto": _CRYPTO,
    "cryptography": _CRYPTO,
    "fnv_hash_fast": _CRYPTO,
    "hashlib": _CRYPTO,
    "hmac": _CRYPTO,
    "_md5": _CRYPTO,
    "dns": ("trio_vmess.dns",),
    "h11": ("trio_vmess.core.http", "trio_vmess.outbound.http"),
    "tomli": ("trio_vmess.config.toml",),
}
"""Libraries that live in one place each, whatever the room: the only modules that import them."""

EVERYWHERE: Final = frozenset({"attr", "attrs"})

FOREIGN_WORDS: Final = re.compile(
    "vmess|auth_?id|alter_?id|user_?hash|cmd_?key|body_?key", re.IGNORECASE
)
"""What a relay does not know."""


def modules_of(sources: Sources) -> dict[str, str]:
    """Return module names and their paths; a package goes by the name of its folder."""
    return {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path in sources
    }


def room_of(module: str) -> str:
    """Return the room that a module of the package lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(source: str, modules: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that is imported, deep inside functions, too.

    `from package import name` means the module `package.name` where there is one.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(level=level) if level:
                yield node.lineno, "." * level + (node.module or "")
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    yield node.lineno, inner if inner in modules else module


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
    if target == room_name or target == "errors":
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
            found.append(f"{path}:1: {room!r} is no room of the house")
            continue
        for line, imported in imports_of(sources[path], modules):
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
        module: {name for _, name in imports_of(sources[path], modules) if name in modules}
        for module, path in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        cycle: list[str] = exc.args[1]
        return cycle
    return []


# The package as it is ---------------------------------------------------------------------------

PRESENT: Final[Sources] = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}
PACKAGES: Final = sorted(
    module for module, path in modules_of(PRESENT).items() if path.endswith("/__init__.py")
)


def test_the_house_keeps_its_own_rules() -> None:
    assert "trio_vmess/core/vmess/server.py" in PRESENT
    assert find_violations(PRESENT) == []


def test_no_imports_in_a_circle() -> None:
    assert find_cycle(PRESENT) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_exists(name: str) -> None:
    package = importlib.import_module(name)
    public = list(package.__all__)
    assert [word for word in public if not hasattr(package, word)] == []
    assert len(public) == len(set(public))


def test_the_manual_shows_every_room() -> None:
    manual = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = [line for line in manual.splitlines() if line.startswith("| ")]
    cells = {word for row in rows for word in re.findall(r"`([\w/]+)", row.split("|")[1])}
    assert {name for name in ROOMS if not name.startswith("_")} <= cells


# The rules bite ---------------------------------------------------------------------------------

HOUSE: Final[Sources] = dict.fromkeys(
    (
        "trio_vmess/__init__.py",
        "trio_vmess/__main__.py",
        "trio_vmess/_version.py",
        "trio_vmess/errors.py",
        "trio_vmess/core/__init__.py",
        "trio_vmess/core/buffer.py",
        "trio_vmess/core/crypto.py",
        "trio_vmess/core/http/__init__.py",
        "trio_vmess/core/http/server.py",
        "trio_vmess/core/vmess/__init__.py",
        "trio_vmess/core/vmess/server.py",
        "trio_vmess/routing/__init__.py",
        "trio_vmess/routing/router.py",
        "trio_vmess/config/__init__.py",
        "trio_vmess/config/toml.py",
        "trio_vmess/streams/__init__.py",
        "trio_vmess/relay/__init__.py",
        "trio_vmess/relay/pump.py",
        "trio_vmess/inbound/__init__.py",
        "trio_vmess/inbound/vmess.py",
        "trio_vmess/outbound/__init__.py",
        "trio_vmess/outbound/http.py",
        "trio_vmess/outbound/vmess.py",
        "trio_vmess/listen/__init__.py",
        "trio_vmess/listen/static.py",
        "trio_vmess/contracts.py",
        "trio_vmess/dispatch.py",
        "trio_vmess/app.py",
        "trio_vmess/arguments.py",
        "trio_vmess/cli.py",
    ),
    "",
)


def complaints(place: str, source: str) -> list[str]:
    """Put one source into the house; return what is said about it, without the path."""
    path = f"trio_vmess/{place}.py"
    found = find_violations({**HOUSE, path: source})
    assert all(each.startswith(f"{path}:") for each in found)
    return [each.split(": ", 1)[1] for each in found]


def test_an_empty_house_is_in_order() -> None:
    assert find_violations(HOUSE) == []
    assert find_cycle(HOUSE) == []


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("core/buffer", "import attrs, struct\nfrom trio_vmess.errors import VMessError"),
        ("core/crypto", "import hmac\nfrom Crypto.Hash import SHAKE128\nimport _md5"),
        ("core/http/server", "import h11\nimport http\nfrom trio_vmess.core.buffer import X"),
        ("core/vmess/server", "from trio_vmess.core.vmess import events"),
        ("routing/router", "from trio_vmess.core import Destination"),
        ("config/toml", "import tomli, datetime\nfrom trio_vmess.core.vmess import Account"),
        ("relay/pump", "import trio\nfrom trio_vmess.core import Codec"),
        ("inbound/vmess", "from trio_vmess.contracts import X\nfrom trio_vmess.core import vmess"),
        ("outbound/http", "import h11, socket"),
        ("dispatch", "import time, trio\nfrom trio_vmess.routing import Router"),
        ("app", "import secrets, time\nfrom trio_vmess.dispatch import serve"),
        ("cli", "from trio_vmess.arguments import build_parser\nfrom trio_vmess import app"),
        ("__main__", "from trio_vmess.cli import main"),
        ("__init__", "from trio_vmess.app import serve\nfrom trio_vmess.streams import X"),
    ],
)
def test_what_is_allowed(place: str, source: str) -> None:
    assert complaints(place, source) == []


@pytest.mark.parametrize(
    ("place", "source", "complaint"),
    [
        *(
            ("core/buffer", f"import {name}", f"core never imports {name}")
            for name in (
                *("socket", "ssl", "time", "random", "secrets", "os", "logging", "platform"),
                "datetime",
            )
        ),
        ("core/buffer", "import trio", "core may not import trio"),
        ("core/buffer", "from os.path import join", "core never imports os"),
        ("core/buffer", "def f():\n    import time", "core never imports time"),
        ("core/buffer", "import hashlib", "hashlib lives in trio_vmess.core.crypto"),
        ("core/vmess/server", "import hmac", "hmac lives in trio_vmess.core.crypto"),
        ("app", "import Crypto.Hash", "Crypto lives in trio_vmess.core.crypto"),
        ("core/crypto_too", "import cryptography", "cryptography lives in trio_vmess.core.crypto"),
        ("listen/static", "import fnv_hash_fast", "fnv_hash_fast lives in trio_vmess.core.crypto"),
        ("core/vmess/server", "from _md5 import md5", "_md5 lives in trio_vmess.core.crypto"),
        (
            "core/vmess/server",
            "import h11",
            "h11 lives in trio_vmess.core.http and trio_vmess.outbound.http",
        ),
        ("config/load", "import tomli", "tomli lives in trio_vmess.config.toml"),
        ("outbound/freedom", "import dns.message", "dns lives in trio_vmess.dns"),
        ("config/load", "import trio", "config may not import trio"),
        ("config/load", "import yaml", "config may not import yaml"),
        ("core/buffer", "from trio_vmess import VMessError", "core may not import __init__"),
        ("core/buffer", "from trio_vmess.config import X", "core may not import config"),
        ("routing/router", "from trio_vmess.config import X", "routing may not import config"),
        ("config/toml", "import trio_vmess.routing", "config may not import routing"),
        ("streams/vmess", "from trio_vmess.relay import X", "streams may not import relay"),
        ("relay/pump", "from trio_vmess.streams import X", "relay may not import streams"),
        ("inbound/vmess", "from trio_vmess.outbound import X", "inbound may not import outbound"),
        ("outbound/vmess", "from trio_vmess.dispatch import X", "outbound may not import dispatch"),
        ("listen/static", "from trio_vmess.inbound import X", "listen may not import inbound"),
        ("dispatch", "from trio_vmess.inbound import X", "dispatch may not import inbound"),
        ("dispatch", "from trio_vmess.config import X", "dispatch may not import config"),
        ("app", "from trio_vmess.cli import main", "app may not import cli"),
        ("contracts", "from trio_vmess.app import X", "contracts may not import app"),
        (
            "inbound/vmess",
            "from trio_vmess.core.vmess.server import ServerConnection",
            "import the package, not its module trio_vmess.core.vmess.server",
        ),
        (
            "app",
            "from trio_vmess.core import buffer",
            "import the package, not its module trio_vmess.core.buffer",
        ),
        (
            "app",
            "import trio_vmess.listen.static",
            "import the package, not its module trio_vmess.listen.static",
        ),
        ("app", "import trio_vmess.core.absent", "there is no module trio_vmess.core.absent"),
        ("core/vmess/server", "from . import events", "a relative import: ."),
        ("relay/pump", "# as VMess does", "relay knows no VMess"),
        ("relay/pump", "auth_id = b''", "relay knows no auth_id"),
        ("relay/pump", "from trio_vmess.core.vmess import X", "relay knows no vmess"),
        ("utils", "", "'utils' is no room of the house"),
        ("transport/tls", "", "'transport' is no room of the house"),
    ],
)
def test_what_is_forbidden(place: str, source: str, complaint: str) -> None:
    assert complaints(place, source) == [complaint]


def test_a_circle_is_found() -> None:
    circle = {
        "trio_vmess/core/a.py": "from trio_vmess.core.b import X",
        "trio_vmess/core/b.py": "from trio_vmess.core import c",
        "trio_vmess/core/c.py": "def f():\n    import trio_vmess.core.a",
    }
    found = find_cycle({**HOUSE, **circle})
    assert set(found) == {"trio_vmess.core.a", "trio_vmess.core.b", "trio_vmess.core.c"}
    collecting = {
        "trio_vmess/core/a.py": "from trio_vmess.core.b import X",
        "trio_vmess/core/b.py": "",
        "trio_vmess/core/__init__.py": "from trio_vmess.core.a import X",
    }
    assert find_cycle({**HOUSE, **collecting}) == []
