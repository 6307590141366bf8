"""The table of rooms, held against the package and against made-up ones that break it."""

import importlib
import re
from typing import Final

import pytest

from tests.architecture import (
    ROOT,
    Sources,
    find_cycle,
    find_dead_permissions,
    find_violations,
    format_table,
    modules_of,
    present_sources,
)

# The package as it is ---------------------------------------------------------------------------

PRESENT: Final = present_sources()
PACKAGES: Final = sorted(
    module for module, path in modules_of(PRESENT).items() if path.endswith("/__init__.py")
)


def test_the_package_keeps_its_own_rules() -> None:
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


def test_nothing_is_allowed_that_nothing_uses() -> None:
    assert find_dead_permissions(PRESENT) == []


def test_the_manual_has_this_table() -> None:
    manual = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert format_table() in manual, "print it with: python -m tests.architecture"


def test_the_manual_names_modules_that_exist() -> None:
    manual = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    paths = manual[manual.index("## The path of a user") :]
    names = set(re.findall(r"`([a-z_]+\.[a-z_.0-9]+)`", paths))
    assert {"config.load", "relay.streams"} <= names
    modules = modules_of(PRESENT)
    assert {name for name in names if f"trio_vmess.{name}" not in modules} == set()


# The rules bite ---------------------------------------------------------------------------------

EXAMPLE: Final[Sources] = dict.fromkeys(
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
        "trio_vmess/transport/__init__.py",
        "trio_vmess/transport/tcp.py",
        "trio_vmess/relay/__init__.py",
        "trio_vmess/relay/pump.py",
        "trio_vmess/inbound/__init__.py",
        "trio_vmess/inbound/vmess.py",
        "trio_vmess/outbound/__init__.py",
        "trio_vmess/outbound/http.py",
        "trio_vmess/outbound/vmess.py",
        "trio_vmess/listen/__init__.py",
        "trio_vmess/listen/listener.py",
        "trio_vmess/contracts.py",
        "trio_vmess/dispatch/__init__.py",
        "trio_vmess/dispatch/dispatcher.py",
        "trio_vmess/node/__init__.py",
        "trio_vmess/node/node.py",
        "trio_vmess/library/__init__.py",
        "trio_vmess/cli/__init__.py",
        "trio_vmess/cli/arguments.py",
        "trio_vmess/cli/main.py",
    ),
    "",
) | {"trio_vmess/cli/__init__.py": "from trio_vmess.cli.main import main"}


def complaints(place: str, source: str) -> list[str]:
    """Put one source into the example; return what is said about it, without the path."""
    path = f"trio_vmess/{place}.py"
    found = find_violations({**EXAMPLE, path: source})
    assert all(each.startswith(f"{path}:") for each in found)
    return [each.split(": ", 1)[1] for each in found]


def test_empty_modules_break_nothing() -> None:
    assert find_violations(EXAMPLE) == []
    assert find_cycle(EXAMPLE) == []


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
        ("outbound/http", "import trio, socket"),
        ("dispatch/dispatcher", "import time, trio\nfrom trio_vmess.routing import Router"),
        ("node/node", "import secrets, time\nfrom trio_vmess.dispatch import serve"),
        ("cli/main", "from trio_vmess.cli.arguments import X\nimport trio_vmess.node"),
        ("__main__", "from trio_vmess.cli import main"),
        ("__init__", "from trio_vmess.library import serve\nfrom trio_vmess.node import X"),
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
        ("node/node", "import Crypto.Hash", "Crypto lives in trio_vmess.core.crypto"),
        ("core/crypto_too", "import lmdb", "lmdb lives in trio_vmess.node.replay_store"),
        (
            "listen/listener",
            "import fnv_hash_fast",
            "fnv_hash_fast lives in trio_vmess.core.crypto",
        ),
        ("core/vmess/server", "from _md5 import md5", "_md5 lives in trio_vmess.core.crypto"),
        (
            "core/vmess/server",
            "import h11",
            "h11 lives in trio_vmess.core.http and trio_vmess.core.carriage.upgrade",
        ),
        (
            "config/load",
            "import tomli",
            "tomli lives in trio_vmess.config.toml and trio_vmess.config.toml_locations",
        ),
        ("outbound/freedom", "import dns.message", "dns lives in trio_vmess.dns"),
        ("config/load", "import trio", "config may not import trio"),
        ("config/load", "import yaml", "config may not import yaml"),
        ("core/buffer", "from trio_vmess import VMessError", "core may not import __init__"),
        ("core/buffer", "from trio_vmess.config import X", "core may not import config"),
        ("routing/router", "from trio_vmess.config import X", "routing may not import config"),
        ("config/toml", "import trio_vmess.dispatch", "config may not import dispatch"),
        ("transport/tcp", "from trio_vmess.relay import X", "transport may not import relay"),
        ("relay/pump", "from trio_vmess.transport import X", "relay may not import transport"),
        ("inbound/vmess", "from trio_vmess.outbound import X", "inbound may not import outbound"),
        ("outbound/vmess", "from trio_vmess.dispatch import X", "outbound may not import dispatch"),
        ("listen/listener", "from trio_vmess.inbound import X", "listen may not import inbound"),
        (
            "dispatch/dispatcher",
            "from trio_vmess.inbound import X",
            "dispatch may not import inbound",
        ),
        (
            "dispatch/dispatcher",
            "from trio_vmess.config import X",
            "dispatch may not import config",
        ),
        ("node/node", "from trio_vmess.cli import main", "node may not import cli"),
        ("contracts", "from trio_vmess.node import X", "contracts may not import node"),
        (
            "inbound/vmess",
            "from trio_vmess.core.vmess.server import ServerConnection",
            "import the package, not its module trio_vmess.core.vmess.server",
        ),
        (
            "node/node",
            "from trio_vmess.core import buffer",
            "import the package, not its module trio_vmess.core.buffer",
        ),
        (
            "node/node",
            "import trio_vmess.listen.listener",
            "import the package, not its module trio_vmess.listen.listener",
        ),
        ("node/node", "import trio_vmess.core.absent", "there is no module trio_vmess.core.absent"),
        ("core/vmess/server", "from . import events", "a relative import: ."),
        ("relay/pump", "# as VMess does", "relay knows no VMess"),
        ("relay/pump", "auth_id = b''", "relay knows no auth_id"),
        ("relay/pump", "from trio_vmess.core.vmess import X", "relay knows no vmess"),
        ("utils", "", "there is no room 'utils'"),
        ("streams/tls", "", "there is no room 'streams'"),
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
    found = find_cycle({**EXAMPLE, **circle})
    assert set(found) == {"trio_vmess.core.a", "trio_vmess.core.b", "trio_vmess.core.c"}
    collecting = {
        "trio_vmess/core/a.py": "from trio_vmess.core.b import X",
        "trio_vmess/core/b.py": "",
        "trio_vmess/core/__init__.py": "from trio_vmess.core.a import X",
    }
    assert find_cycle({**EXAMPLE, **collecting}) == []


def test_a_dead_permission_is_found() -> None:
    everything = find_dead_permissions(EXAMPLE)
    assert "inbound: transport" in everything
    assert "trio_vmess.config.toml: tomli" in everything
    path = "trio_vmess/inbound/vmess.py"
    found = find_dead_permissions({**EXAMPLE, path: "from trio_vmess.transport import X"})
    assert set(everything) - set(found) == {"inbound: transport"}
