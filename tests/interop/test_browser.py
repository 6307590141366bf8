"""A real browser through a client and a server of this project: Chromium, by SOCKS and by HTTP.

The page has a hundred small images and one large download; its script shows in the title what has
arrived. Chromium keeps several connections open, ends many of them early and reuses others.
"""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from tests.kit.http_origin import ASSET_COUNT, DOWNLOAD_SIZE, expected_title, start_http
from tests.kit.nodes import start_client_node, start_server_node
from tests.kit.peer_specs import ClientSpec, ServerSpec
from trio_vmess.config import HttpInboundSettings, InboundProtocolSettings, MixedInboundSettings

pytestmark = pytest.mark.limit(90)

BUDGET = 30_000
"""Milliseconds of the page's own time, in which waiting for the network does not count."""

OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    f"--virtual-time-budget={BUDGET}",
    # Without this, loopback would be reached around the proxy.
    "--proxy-bypass-list=<-loopback>",
)


def _program() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (program := shutil.which(name)) is not None:
            return program
    reason = "no chromium on PATH (Debian package chromium)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason}, and CI=true forbids skipping")
    pytest.skip(reason)


async def _load(url: str, proxy: str, profile: Path) -> tuple[str, str]:
    """Load a page; return its title when the script is done, and what Chromium complained of."""
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    result = await trio.run_process(
        [
            _program(),
            *OPTIONS,
            *sandbox,
            f"--user-data-dir={profile}",
            f"--proxy-server={proxy}",
            "--dump-dom",
            url,
        ],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(profile)},
    )
    found = re.search(r"<title>(.*?)</title>", result.stdout.decode(errors="replace"), re.DOTALL)
    title = html.unescape(found[1]) if found else "no title"
    return title, result.stderr.decode(errors="replace")


@pytest.mark.parametrize(
    ("scheme", "protocol"),
    [("socks5", None), ("http", HttpInboundSettings()), ("socks5", MixedInboundSettings())],
    ids=["socks", "http", "mixed"],
)
async def test_a_page_arrives_whole(
    scheme: str, protocol: InboundProtocolSettings | None, tmp_path: Path
) -> None:
    async with (
        start_http() as origin,
        start_server_node(ServerSpec()) as server,
        start_client_node(ClientSpec(server_port=server.port), proxy=protocol) as client,
    ):
        title, complaints = await _load(
            f"http://{origin.host}:{origin.port}/",
            f"{scheme}://127.0.0.1:{client.port}",
            tmp_path,
        )
        assert title == expected_title(), complaints
        assert f"loaded {ASSET_COUNT} " in title
        # Everything came by the server: it alone has connected to the origin.
        assert DOWNLOAD_SIZE > origin.byte_count > 0


async def test_without_its_server_there_is_no_page(tmp_path: Path) -> None:
    """Without this, the browser could have gone around the proxy."""
    async with start_http() as origin:
        async with start_server_node(ServerSpec()) as server:
            port = server.port
        async with start_client_node(ClientSpec(server_port=port)) as client:
            title, _ = await _load(
                f"http://{origin.host}:{origin.port}/",
                f"socks5://127.0.0.1:{client.port}",
                tmp_path,
            )
        assert title != expected_title()
        assert origin.connection_count == 0
