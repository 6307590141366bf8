"""What is loaded by whom: commands and nodes without what they do not use."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.kit.commands import run_python

HEAVY: Final = {
    "trio",
    "attr",
    "cryptography",
    "h11",
    "ssl",
    "asyncio",
    "socket",
    "logging",
    "json",
}
"""What a command that only prints can do without."""

NEVER: Final = {"asyncio", "multiprocessing", "http", "email", "difflib", "argparse", "unittest"}
"""Of the standard library: what no node needs. Trio itself loads ssl."""

OPTIONAL: Final = {"h11", "hpack", "websockets", "dns", "re2", "tomli", "lmdb", "Crypto", "cffi"}
"""Libraries that only some nodes need; `_cffi_backend` is a part of `cryptography`."""

PARTS: Final = {
    "trio_vmess.core.http",
    "trio_vmess.core.mux",
    "trio_vmess.core.socks",
    "trio_vmess.core.carriage",
    "trio_vmess.core.vmess.client",
    "trio_vmess.core.vmess.server",
    "trio_vmess.routing.router",
    "trio_vmess.fallback",
    "trio_vmess.transport.carriage",
    "trio_vmess.transport.tls",
    "trio_vmess.library",
    "trio_vmess.diagnosis",
    "trio_vmess.bench",
    "trio_vmess.config.share_link",
    "trio_vmess.config.toml",
    "trio_vmess.config.jsonc",
    *(f"trio_vmess.inbound.{name}" for name in ("http", "mixed", "mux", "socks", "vmess")),
    *(f"trio_vmess.outbound.{name}" for name in ("freedom", "http", "mux", "socks", "vmess")),
}
"""Parts of ours that only some nodes need."""

USER: Final = {"id": "b831381d-6324-4d53-ad4f-8cda48b30811", "alterId": 0}
FREEDOM: Final = {"protocol": "freedom", "settings": {}}
SERVER: Final = {
    "inbounds": [
        {
            "listen": "127.0.0.1",
            "port": 0,
            "protocol": "vmess",
            "settings": {"clients": [USER]},
        }
    ],
    "outbounds": [FREEDOM],
}
CLIENT: Final = {
    "inbounds": [
        {"listen": "127.0.0.1", "port": 0, "protocol": "socks", "settings": {"udp": True}},
    ],
    "outbounds": [
        {
            "protocol": "vmess",
            "settings": {"vnext": [{"address": "127.0.0.1", "port": 9, "users": [USER]}]},
        }
    ],
}
HTTP_PROXY: Final = {
    "inbounds": [{"listen": "127.0.0.1", "port": 0, "protocol": "http"}],
    "outbounds": [FREEDOM],
}

LIST_OF_A_COMMAND: Final = """
import sys
from trio_vmess.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exc:
    code = exc.code
modules = sorted(sys.modules)
import json
print(json.dumps([code, modules]))
"""

LIST_OF_A_NODE: Final = """
import sys, trio
from trio_vmess.config import load_config
from trio_vmess.node import Node

async def run(node):
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        assert node.listening
        modules = sorted(sys.modules)
        node.stop()
    return modules

modules = trio.run(run, Node(load_config(sys.argv[1])))
import json
print(json.dumps(modules))
"""


def within(modules: list[str], places: set[str]) -> set[str]:
    """Return the places of which something is loaded."""
    return {
        place
        for place in places
        for module in modules
        if module == place or module.startswith(place + ".")
    }


def loaded_by_a_node(configuration: object, folder: Path) -> list[str]:
    """Start a node in a process of its own; return the names of the modules that it has then."""
    file = folder / "node.json"
    file.write_text(json.dumps(configuration), "utf-8")
    done = run_python("-c", LIST_OF_A_NODE, str(file), limit=60)
    assert (done.returncode, done.stderr) == (0, "")
    modules: list[str] = json.loads(done.stdout)
    return modules


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_a_command_that_only_prints_loads_nearly_nothing(option: str) -> None:
    done = run_python("-c", LIST_OF_A_COMMAND, option, limit=60)
    assert (done.returncode, done.stderr) == (0, "")
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert within(modules, HEAVY) == set()
    ours = {module.partition("trio_vmess.")[2] for module in modules if "trio_vmess" in module}
    own = {"cli.hidden_arguments", "cli.main", "cli.parser", "cli.spellings"}
    assert ours == {"", "_version", "lazy", "cli", *own}


def test_help_about_a_command_does_not_load_a_node() -> None:
    done = run_python("-c", LIST_OF_A_COMMAND, "server", "--help", limit=60)
    assert (done.returncode, done.stderr) == (0, "")
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert within(modules, {"trio", "ssl", *OPTIONAL, "trio_vmess.node"}) == set()


def test_the_facade_loads_nothing_before_it_is_used() -> None:
    code = "import sys, trio_vmess; print(*(each for each in sys.modules if 'vmess' in each))"
    done = run_python("-c", code, limit=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == {"trio_vmess", "trio_vmess._version", "trio_vmess.lazy"}


def test_a_server_has_only_what_it_uses(tmp_path: Path) -> None:
    modules = loaded_by_a_node(SERVER, tmp_path)
    assert within(modules, NEVER) == set()
    assert within(modules, OPTIONAL) == {"lmdb"}
    # Only its clients know whether they will ask for Mux.
    assert within(modules, PARTS) == {
        "trio_vmess.config.jsonc",
        "trio_vmess.core.mux",
        "trio_vmess.core.vmess.server",
        "trio_vmess.inbound.mux",
        "trio_vmess.inbound.vmess",
        "trio_vmess.outbound.freedom",
    }


def test_a_client_has_only_what_it_uses(tmp_path: Path) -> None:
    modules = loaded_by_a_node(CLIENT, tmp_path)
    assert within(modules, NEVER) == set()
    assert within(modules, OPTIONAL) == set()
    assert within(modules, PARTS) == {
        "trio_vmess.config.jsonc",
        "trio_vmess.core.socks",
        "trio_vmess.core.vmess.client",
        "trio_vmess.inbound.socks",
        "trio_vmess.outbound.vmess",
    }


def test_what_is_configured_is_loaded_at_the_start(tmp_path: Path) -> None:
    modules = loaded_by_a_node(HTTP_PROXY, tmp_path)
    assert within(modules, OPTIONAL) == {"h11"}
    assert within(modules, PARTS) == {
        "trio_vmess.config.jsonc",
        "trio_vmess.core.http",
        "trio_vmess.inbound.http",
        "trio_vmess.outbound.freedom",
    }
