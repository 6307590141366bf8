"""The examples, the README and the manual: what is shown there runs."""

import pkgutil
import re
from pathlib import Path
from typing import Final

import pytest

from tests.kit.commands import run_python

ROOT: Final = Path(__file__).parents[2]
LIMIT: Final = 30
"""Seconds that an example may take."""

EXAMPLES: Final = {
    "01_sans_io.py": (
        "server: Request(",
        "destination=Destination(host='example.com', port=443",
        "server: Data(payload=<5 bytes>)",
        "client: Response(",
        "client: Data(payload=<10 bytes>)",
    ),
    "02_open_stream.py": ("answer: HELLO AND GOOD BYE",),
    "03_serve.py": (
        "for-friends: vmess on 127.0.0.1",
        "for-me: mixed on 127.0.0.1",
        "connections: 0",
        "stopped",
    ),
    "04_errors.py": (
        "unsupported: net: the transport 'kcp' is not supported",
        "unsupported: tls: REALITY is not supported",
        "not valid: destination: 0 is not a valid port: expected 1 to 65535",
        "the server cannot be reached: ",
        "broken: the server closed the connection without an answer",
        "the server's log: vmess.refused",
        "silence: ",
    ),
    "05_datagrams.py": (
        "answer: b'one'",
        "answer: b'two'",
        "the server was asked for udp:192.0.2.1:53",
    ),
    "06_asyncio.py": ("answer: b'hello\\n'", "the rest: b'good bye\\n'"),
    "07_httpx.py": ("200 this is example.com\n200 this is example.com", "connections: 1"),
    "08_testing.py": (
        "reachable: True",
        "reachable: False",
        "refused: ",
        "waited for an hour: True",
    ),
}
"""What each example prints, in this order, among other things."""


def run(*arguments: str) -> str:
    """Run Python on the package as it lies here; return what it prints."""
    done = run_python(*arguments, limit=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_should(name: str) -> None:
    output = run(f"examples/{name}")
    places = [output.find(text) for text in EXAMPLES[name]]
    assert -1 not in places
    assert places == sorted(places)


def blocks(path: str, language: str) -> list[str]:
    """Return the code blocks of a text."""
    text = (ROOT / path).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_readme_shows_the_first_example() -> None:
    assert (ROOT / "examples" / "01_sans_io.py").read_text("utf-8") in blocks("README.md", "python")


@pytest.mark.parametrize("path", ["README.md", "docs/library.md"])
def test_the_names_in_code_exist(path: str) -> None:
    names = set(re.findall(r"\btrio_vmess(?:\.\w+)+", "".join(blocks(path, "python"))))
    assert len(names) > 3
    for name in names:
        assert pkgutil.resolve_name(name) is not None


def test_the_manual_of_the_core_runs() -> None:
    output = run("-c", "".join(blocks("docs/core.md", "python")))
    assert "ann wants to go to tcp:example.com:443\nand sends b'hello'\n" in output
    assert "the clock is 3600 s behind ours" in output
    assert "aes-128-gcm to tcp:example.com:443\na chunk of " in output


def test_the_manual_of_the_library_runs() -> None:
    output = run("-c", "".join(blocks("docs/library.md", "python"))).splitlines()
    assert output[0].startswith("for-friends listens on 127.0.0.1:")
    assert output[1].startswith("node.toml | 3 | inbounds[0].port | ")
    assert output[2:6] == [*("b'HELLO'",) * 3, "b'A WHOLE REQUEST'"]
    assert output[6].startswith("WARNING trio_vmess.inbound.vmess: vmess.refused ")
    assert output[7:] == [
        *("no answer", "b'HELLO'", "b'PING'", "b'HELLO'"),
        *("hello from HTTP", "b'this is example.com'"),
    ]


def test_the_readme_marks_its_test_line() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    marked = re.findall(r"^<!-- test-line.*-->\n```sh\n(.*)\n```$", text, re.MULTILINE)
    assert len(marked) == 1
    assert marked[0].endswith("/pytest")


@pytest.mark.parametrize(
    "path",
    ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))],
)
def test_links_lead_somewhere(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in target:
            assert (ROOT / path).parent.joinpath(target).exists(), target
