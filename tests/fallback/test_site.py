"""A site of files against recordings of nginx, byte by byte; and what it keeps to itself."""

import email.utils
import os
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.kit.remote_ends import RemoteEnd, memory_pair
from tests.kit.strangers import SOURCE, told_by, undated
from tests.kit.vectors import VECTORS, load
from trio_vmess.core.carriage.upgrade import RequestHead
from trio_vmess.fallback import Folder, SiteFallback
from trio_vmess.fallback import folder as folder_module
from trio_vmess.fallback import requests as requests_module

NOW = 1_800_000_000
SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *headers, "", ""]
    return "\r\n".join(lines).encode()


def site(path: Path) -> SiteFallback:
    return SiteFallback(folder=Folder(path), clock=lambda: NOW)


def recorded(server: str) -> list[dict[str, Any]]:
    return [each for each in load("nginx_site") if each["server"] == server]


def write_files(path: Path) -> None:
    """Write the files that nginx had."""
    import json

    document = json.loads((VECTORS / "nginx_site.json").read_text())
    for name, text in document["files"].items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            file.mkdir()
            continue
        file.write_text(text)
        os.utime(file, (document["modified"], document["modified"]))


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("server", ["site", "own 404"])
async def test_the_answers_are_those_of_nginx(tmp_path: Path, server: str, step: int) -> None:
    write_files(tmp_path)
    if server == "site":
        (tmp_path / "404.html").unlink()
    fallback = site(tmp_path)
    missing = undated(await told_by(fallback, SENTINEL))
    for vector in recorded(server):
        wire = bytes.fromhex(vector["request"])
        # Whoever is still listening answers another request.
        is_whole = vector["name"] != "expect"
        answer = undated(await told_by(fallback, wire + SENTINEL * is_whole, step=step))
        expected = undated(vector["response"])
        if is_whole and vector["end"] == "open":
            expected += missing
        assert answer == expected, vector["name"]


async def test_the_date_is_that_of_the_clock(tmp_path: Path) -> None:
    answer = await told_by(site(tmp_path), get("/"))
    date = re.search(b"Date: ([^\r]*)", answer)
    assert date is not None
    assert date[1].decode() == email.utils.formatdate(NOW, usegmt=True)


# What it keeps to itself ------------------------------------------------------------------------


@pytest.fixture
def www(tmp_path: Path) -> Path:
    """Return a folder with something secret around it."""
    www = tmp_path / "www"
    (www / "sub").mkdir(parents=True)
    (www / "index.html").write_text("home")
    (www / "a").write_text("inside")
    (www / ".env").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "www2").mkdir()
    (tmp_path / "www2" / "secret").write_text("secret")
    return www


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/sub/../../secret",
        "/a%00.html",
        "/../www2/secret",
        "/..\\secret",
        "/.env",
        "/%2eenv",
        "/sub/..%2f.env",
        "/sub/../.env",
        "/./.env",
    ],
)
async def test_nothing_outside_of_the_folder_is_served(www: Path, target: str) -> None:
    answer = await told_by(site(www), get(target))
    assert re.match(rb"HTTP/1.1 40[04] ", answer)
    assert b"secret" not in answer


async def test_links_are_followed_within_the_folder_alone(www: Path) -> None:
    (www / "out").symlink_to(www.parent / "secret")
    (www / "outside").symlink_to(www.parent / "www2")
    (www / "loop").symlink_to("loop")
    (www / "in").symlink_to("a")
    for target in ("/out", "/outside/secret", "/outside/", "/outside", "/loop"):
        assert (await told_by(site(www), get(target))).startswith(b"HTTP/1.1 404 ")
    assert (await told_by(site(www), get("/in"))).endswith(b"inside")


async def test_the_folder_may_be_a_link_that_changes(www: Path, tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(www)
    fallback = site(current)
    assert (await told_by(fallback, get("/a"))).endswith(b"inside")
    current.unlink()
    current.symlink_to(tmp_path / "www2")
    assert (await told_by(fallback, get("/a"))).startswith(b"HTTP/1.1 404 ")
    assert (await told_by(fallback, get("/secret"))).endswith(b"secret")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
async def test_what_is_no_file_is_not_waited_for(www: Path) -> None:
    os.mkfifo(www / "pipe")
    assert (await told_by(site(www), get("/pipe"))).startswith(b"HTTP/1.1 404 ")


async def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    assert (await told_by(site(tmp_path / "none"), get("/"))).startswith(b"HTTP/1.1 404 ")


# Bounds -------------------------------------------------------------------------------------------


async def test_a_large_file_comes_in_pieces(www: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "PIECE", 1000)
    content = os.urandom(4321)
    (www / "large.bin").write_bytes(content)
    answer = await told_by(site(www), get("/large.bin") + get("/a", "Connection: close"))
    first, _, second = answer.partition(
        b"HTTP/1.1 200 OK",
    )[2].partition(b"HTTP/1.1 200 OK")
    assert first.endswith(b"\r\n\r\n" + content)
    assert b"Content-Type: application/octet-stream\r\nContent-Length: 4321\r\n" in first
    assert second.endswith(b"inside")


async def test_a_file_that_becomes_shorter_is_cut_off(
    www: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "PIECE", 1000)
    file = www / "large.bin"
    file.write_bytes(bytes(4000))
    found = await Folder(www).open(folder_module.Target(segments=("large.bin",), is_folder=False))
    assert isinstance(found, folder_module.OpenFile)
    file.write_bytes(bytes(1500))
    assert len(await found.next_piece()) == 500
    with pytest.raises(OSError, match="shorter"):
        await found.next_piece()
    found.close()


async def test_the_number_of_requests_is_bounded(
    www: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "REQUESTS_MAX", 3)
    answer = await told_by(site(www), get("/a") * 5)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"Connection: close") == 1


async def test_a_head_without_an_end_is_refused(www: Path) -> None:
    wire = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000
    assert b"Request Header Or Cookie Too Large" in await told_by(site(www), wire, step=4000)


async def test_an_idle_connection_is_closed(
    www: Path, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = memory_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await site(www).serve(ours, received=b"GET /", source=SOURCE)
            await ours.aclose()

        nursery.start_soon(serve)
        assert await RemoteEnd(theirs).receive_all() == b""
    assert trio.current_time() == pytest.approx(requests_module.HEAD_TIMEOUT)


# Without HTTP/1.1 ---------------------------------------------------------------------------------


async def test_requests_of_other_versions_can_be_answered(www: Path) -> None:
    request = RequestHead(method="GET", target="/a", version="2", headers=())
    answer, file = await site(www).answer(request)
    assert answer.status == "200 OK"
    assert file is not None
    assert (file.begin, await file.next_piece()) == (b"inside", b"")
