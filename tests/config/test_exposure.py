"""Warnings about what is valid, but open to more people than its owner may think."""

import os
from pathlib import Path

import pytest

from trio_vmess.config import load_config, parse_config

FREEDOM = '[[outbounds]]\nprotocol = "freedom"\n'
ID = "b831381d-6324-4d53-ad4f-8cda48b30811"
OTHER = "27848739-7e62-4138-9fd3-098a63964b6b"
ACCOUNTS = 'accounts = [{ user = "ann", password = "secret" }]\n'


def warned(text: str) -> list[tuple[str, str]]:
    return [(each.where, each.message) for each in parse_config(text, format="toml").warnings]


def inbound(protocol: str, listen: str, more: str = "") -> str:
    start = f'[[inbounds]]\nprotocol = "{protocol}"\nport = 1\n'
    return f'{start}listen = "{listen}"\n{more}{FREEDOM}'


@pytest.mark.parametrize("protocol", ["socks", "http", "mixed"])
@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "192.0.2.1", "10.0.0.1"])
def test_a_proxy_for_everyone(protocol: str, listen: str) -> None:
    assert warned(inbound(protocol, listen)) == [
        (
            "inbounds[0].listen",
            (
                f"everyone who can reach {listen} can use this proxy; set accounts, or listen on "
                "127.0.0.1"
            ),
        )
    ]
    assert warned(inbound(protocol, listen, ACCOUNTS)) == []


@pytest.mark.parametrize("protocol", ["socks", "http", "mixed"])
@pytest.mark.parametrize("listen", ["127.0.0.1", "127.8.8.8", "::1", "/run/x.sock"])
def test_a_proxy_for_this_machine(protocol: str, listen: str) -> None:
    assert warned(inbound(protocol, listen)) == []


def test_an_address_that_is_not_given_is_every_address() -> None:
    ((where, message),) = warned(f'[[inbounds]]\nprotocol = "http"\nport = 1\n{FREEDOM}')
    assert where == "inbounds[0].listen"
    assert message.startswith("everyone who can reach 0.0.0.0 ")


def test_users_with_alter_ids_are_counted() -> None:
    one = f'users = [{{ id = "{OTHER}" }}, {{ id = "{ID}", alter_id = 4 }}]\n'
    two = f'users = [{{ id = "{OTHER}", alter_id = 1 }}, {{ id = "{ID}", alter_id = 4 }}]\n'
    advice = (
        "legacy headers are weaker than AEAD headers, and are easier to detect; use alterId 0 "
        "unless a client is older than V2Ray 4.28"
    )
    assert warned(inbound("vmess", "127.0.0.1", one)) == [
        ("inbounds[0].users[1].alter_id", f"1 user has an alterId above 0: {advice}")
    ]
    assert warned(inbound("vmess", "127.0.0.1", two)) == [
        ("inbounds[0].users[0].alter_id", f"2 users have an alterId above 0: {advice}")
    ]
    assert (
        warned(
            inbound(
                "vmess",
                "0.0.0.0",
                'users = [{ id = "27848739-7e62-4138-9fd3-098a63964b6b" }]\n',
            )
        )
        == []
    )


def test_users_of_a_detour_with_alter_ids() -> None:
    more = f'users = [{{ id = "{OTHER}" }}]\ndefault = {{ alter_id = 4 }}\n'
    ((where, message),) = warned(inbound("vmess", "127.0.0.1", more))
    assert where == "inbounds[0].default"
    assert message.startswith("users that a detour creates have an alterId above 0: ")


def outbound(address: str, more: str = "") -> str:
    where = f'address = "{address}"\nport = 1\nid = "{OTHER}"\n'
    return f'[[outbounds]]\nprotocol = "vmess"\n{where}{more}'


@pytest.mark.parametrize("security", ["none", "zero"])
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "example.com"])
def test_traffic_without_encryption(security: str, address: str) -> None:
    assert warned(outbound(address, f'security = "{security}"\n')) == [
        (
            "outbounds[0]",
            f"the security '{security}' leaves the traffic to {address} unencrypted; use 'auto'",
        )
    ]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_traffic_that_stays_on_this_machine_needs_no_encryption(address: str) -> None:
    assert warned(outbound(address, 'security = "none"\n')) == []


@pytest.mark.parametrize("security", ["auto", "aes-128-gcm", "chacha20-poly1305"])
def test_encrypted_traffic(security: str) -> None:
    assert warned(outbound("192.0.2.1", f'security = "{security}"\n')) == []


def test_an_outbound_with_alter_ids() -> None:
    ((where, message),) = warned(outbound("192.0.2.1", "alter_id = 4\n"))
    assert where == "outbounds[0]"
    assert message == (
        "the alterId for 192.0.2.1 is 4: legacy headers are weaker than AEAD headers, and are "
        "easier to detect; use alterId 0 unless the server is older than V2Ray 4.28"
    )


# Files --------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="no permissions of POSIX")
READABLE = (
    "the file has ids or passwords, and every user of this machine can read it; remove that "
    "permission (chmod o-r)"
)


def load_warnings(
    folder: Path, text: str, mode: int, environ: dict[str, str] | None = None
) -> list[str]:
    file = folder / "node.toml"
    file.write_text(text)
    file.chmod(mode)
    return [each.message for each in load_config(file, environ=environ).warnings]


@posix
@pytest.mark.parametrize(
    "text",
    [
        outbound("192.0.2.1"),
        inbound("vmess", "127.0.0.1", f'users = [{{ id = "{ID}" }}]\n'),
        inbound("socks", "127.0.0.1", ACCOUNTS),
        inbound("http", "127.0.0.1", ACCOUNTS),
        inbound("mixed", "127.0.0.1", ACCOUNTS),
        (
            '[[outbounds]]\nprotocol = "socks"\nservers = [{ address = "::2", port = 3, '
            'users = [{ user = "u", password = "p" }] }]\n'
        ),
    ],
)
def test_a_file_with_secrets_that_all_may_read(text: str, tmp_path: Path) -> None:
    assert load_warnings(tmp_path, text, 0o644) == [READABLE]
    assert load_warnings(tmp_path, text, 0o604) == [READABLE]
    assert load_warnings(tmp_path, text, 0o640) == []
    assert load_warnings(tmp_path, text, 0o600) == []


@posix
def test_a_file_without_secrets_may_be_read(tmp_path: Path) -> None:
    assert load_warnings(tmp_path, inbound("http", "127.0.0.1"), 0o644) == []


@posix
def test_a_file_whose_secrets_are_in_the_environment_may_be_read(tmp_path: Path) -> None:
    text = inbound("vmess", "127.0.0.1", 'users = [{ id = "env:ANN" }]\n')
    assert load_warnings(tmp_path, text, 0o644, {"ANN": ID}) == []
    both = inbound("vmess", "127.0.0.1", f'users = [{{ id = "env:ANN" }}, {{ id = "{ID}" }}]\n')
    other = "27848739-7e62-4138-9fd3-098a63964b6b"
    assert load_warnings(tmp_path, both, 0o644, {"ANN": other}) == [READABLE]


@pytest.mark.skipif(os.name != "posix", reason="permissions as on POSIX")
@pytest.mark.parametrize("side", ["inbounds", "outbounds"])
def test_a_private_key_that_everybody_can_read(tmp_path: Path, side: str) -> None:
    key = tmp_path / "server.key"
    key.write_text("")
    tls = f'tls = {{ certificate_file = "server.pem", key_file = "{key}" }}\n'
    if side == "inbounds":
        text = inbound("vmess", "127.0.0.1", f'users = [{{ id = "{ID}" }}]\n{tls}')
    else:
        text = (
            f'[[outbounds]]\nprotocol = "http"\n{tls}servers = [{{ address = "a.b", port = 1 }}]\n'
        )
    key.chmod(0o640)
    assert warned(text) == []
    key.chmod(0o644)
    ((where, message),) = warned(text)
    assert where == f"{side}[0].tls.key_file"
    assert f"can read the private key in {key}; remove that permission (chmod o-r)" in message


def test_a_key_file_with_an_impossible_name() -> None:
    tls = 'tls = { certificate_file = "server.pem", key_file = "a\\u0000b" }\n'
    assert warned(inbound("vmess", "127.0.0.1", f'users = [{{ id = "{ID}" }}]\n{tls}')) == []
