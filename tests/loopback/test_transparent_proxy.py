"""A transparent proxy takes over what was going elsewhere: in a network namespace of its own."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.kit.own_network import run_in_own_network, takes_own_network
from tests.kit.transparent_network import FAR, LOOPBACK, ONE, OTHER

pytestmark = takes_own_network


def streams(first: str, second: str) -> list[str]:
    return [
        f"tcp {first} one:x",
        f"tcp {second} two:x",
        f"tcp {second} one:GET / HTTP/1.1",
    ]


def datagrams(first: str, second: str) -> list[str]:
    return [
        f"udp {address} {name}:{number} from {address}"
        for number in range(2)
        for address, name in ((first, "one"), (second, "two"))
    ]


@pytest.mark.parametrize("kind", ["policy", "tproxy", "redirect"])
def test_everything_goes_where_it_was_going(kind: str) -> None:
    if kind != "policy" and not shutil.which("nft"):
        pytest.skip("rules of a firewall take nft")
    done = run_in_own_network(sys.executable, "-m", "tests.kit.transparent_network", kind)
    assert done.returncode == 0, done.stderr
    expected: list[str] = []
    for own, first, second, far in zip(LOOPBACK, ONE, OTHER, FAR, strict=True):
        expected += streams(first, second)
        if kind != "redirect":
            expected += datagrams(first, second)
        expected += [f"tcp {far} nothing", f"tcp {own} nothing"]
    assert done.stdout.splitlines() == expected
    # The node's own connections are not handed to it again.
    unreachable = re.findall(
        r"dispatch.unreachable .*'host unreachable'.* destination=(\S+) outbound=marked",
        done.stderr,
    )
    port = 12345 if kind == "policy" else 443
    assert unreachable == [f"tcp:203.0.113.3:{port}", f"tcp:[2001:db8:1::3]:{port}"]
    refused = re.findall(r"dokodemo.not_redirected.* destination=(\S+)", done.stderr)
    assert refused == ["tcp:127.0.0.1:12345", "tcp:[::1]:12345"]


@pytest.mark.parametrize(("network", "listen"), [("tcp", "0.0.0.0"), ("udp", "::")])
def test_a_node_without_the_right_says_which_one_it_needs(
    network: str, listen: str, tmp_path: Path
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        f'[[inbounds]]\nprotocol = "dokodemo-door"\nlisten = "{listen}"\nport = 12345\n'
        f'follow_redirect = true\nnetworks = ["{network}"]\nsocket = {{ tproxy = "tproxy" }}\n'
        '[[outbounds]]\nprotocol = "freedom"\n'
    )
    # Somebody in a user namespace who is not root there has no rights at all.
    done = run_in_own_network(
        *("unshare", "--user", sys.executable, "-m", "trio_vmess", "run"), "--config", str(file)
    )
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr
    assert f"cannot listen on {listen.replace('::', '[::]')}:12345" in done.stderr
