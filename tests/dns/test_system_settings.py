"""What the machine's files say, and what leaves names to the machine."""

from pathlib import Path

import pytest

from tests.kit.name_server import addresses
from trio_vmess.dns import SystemFiles, SystemSettings, read_settings, system_settings


@pytest.fixture(autouse=True)
def _known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_settings.socket, "gethostname", lambda: "Machine.corp.example")
    for name in ("RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES"):
        monkeypatch.delenv(name, raising=False)


def files_of(
    folder: Path,
    *,
    resolv: str | None = "nameserver 192.0.2.53\n",
    hosts: str | None = None,
    services: str | None = None,
    preferences: str | None = None,
) -> SystemFiles:
    texts = {"resolv": resolv, "hosts": hosts, "services": services, "preferences": preferences}
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_text(text)
    return SystemFiles(**{name: folder / name for name in texts})


def test_the_least(tmp_path: Path) -> None:
    assert read_settings(files_of(tmp_path)) == SystemSettings(
        servers=tuple(addresses("192.0.2.53")), search=("corp.example",)
    )


def test_everything(tmp_path: Path) -> None:
    files = files_of(
        tmp_path,
        resolv=(
            "# comment\n; another\ndomain old.example\nsearch a.example B.example.\n"
            "nameserver 127.0.0.53\nnameserver 2001:db8::53 # second\n"
            "nameserver 192.0.2.3\nnameserver 192.0.2.4\n"
            "options ndots:99 timeout:3 attempts:4 rotate edns0\noptions trust-ad\n"
        ),
        hosts=(
            "127.0.0.1 localhost\n::1 localhost\n\n192.0.2.1 One.example one # here\n"
            "2001:db8::1 one.example\nfe80::1%lo0 link\nrubbish name\n192.0.2.1 one\n"
        ),
        services="passwd: files\nhosts: files mdns4_minimal [NOTFOUND=return] dns myhostname\n",
        preferences="# nothing\n",
    )
    settings = read_settings(files)
    assert settings == SystemSettings(
        servers=tuple(addresses("127.0.0.53", "2001:db8::53", "192.0.2.3")),
        search=("a.example", "b.example"),
        ndots=15,
        timeout=3,
        attempts=4,
        hosts={
            "localhost": tuple(addresses("127.0.0.1", "::1")),
            "one.example": tuple(addresses("192.0.2.1", "2001:db8::1")),
            "one": tuple(addresses("192.0.2.1")),
            "link": tuple(addresses("fe80::1")),
        },
        services=frozenset({"mdns4_minimal", "myhostname"}),
    )


@pytest.mark.parametrize(
    ("name", "is_left"),
    [
        ("printer.local", True),
        ("local", True),
        ("machine.corp.example", True),
        ("_gateway", True),
        ("printer.local.example", False),
        ("machine", False),
        ("www.example", False),
    ],
)
def test_other_services_have_their_names(name: str, is_left: bool) -> None:
    servers = tuple(addresses("192.0.2.53"))
    services = frozenset({"mdns_minimal", "myhostname"})
    assert SystemSettings(servers=servers, services=services).is_left_to_services(name) is is_left
    assert not SystemSettings(servers=servers).is_left_to_services(name)


@pytest.mark.parametrize(
    "texts",
    [
        {"resolv": None},
        {"resolv": "search a.example\n"},
        {"resolv": "nameserver fe80::1%eth0\n"},
        {"resolv": "nameserver dns.example\n"},
        {"resolv": "nameserver 192.0.2.53\noptions use-vc\n"},
        {"resolv": "nameserver 192.0.2.53\noptions no-aaaa\n"},
        {"resolv": "nameserver 192.0.2.53\noptions ndots:many\n"},
        {"resolv": "nameserver 192.0.2.53\nsortlist 192.0.2.0\n"},
        {"services": "hosts: resolve [!UNAVAIL=return] files dns\n"},
        {"services": "hosts: files\n"},
        {"services": "hosts: dns files\n"},
        {"services": "hosts: files [NOTFOUND=return] dns\n"},
        {"services": "hosts: files mdns4 dns\n"},
        {"services": "hosts: files dns ldap\n"},
        {"preferences": "precedence ::ffff:0:0/96 100\n"},
        {"hosts": "#" * (system_settings.HOSTS_SIZE_MAX + 1)},
    ],
    ids=lambda texts: next(iter(texts)),
)
def test_left_to_the_machine(tmp_path: Path, texts: dict[str, str | None]) -> None:
    assert read_settings(files_of(tmp_path, **texts)) is None


def test_the_environment_leaves_names_to_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RES_OPTIONS", "ndots:3")
    assert read_settings(files_of(tmp_path)) is None


def test_other_systems_have_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_settings.sys, "platform", "darwin")
    assert read_settings(files_of(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "ndots", "expected"),
    [
        ("www", 1, ["www.a.example", "www.b.example", "www"]),
        ("WWW.site", 1, ["www.site", "www.site.a.example", "www.site.b.example"]),
        ("www.site", 2, ["www.site.a.example", "www.site.b.example", "www.site"]),
        ("www.", 1, ["www"]),
    ],
)
def test_names_are_completed(name: str, ndots: int, expected: list[str]) -> None:
    settings = SystemSettings(
        servers=tuple(addresses("192.0.2.53")), search=("a.example", "b.example"), ndots=ndots
    )
    assert settings.candidates(name) == expected


def test_versions_change_with_each_file(tmp_path: Path) -> None:
    files = files_of(tmp_path)
    seen = [files.versions()]
    for name in ("resolv", "hosts", "services", "preferences"):
        (tmp_path / name).write_text(f"# {name}, {len(seen)}\n" * 3)
        seen.append(files.versions())
    (tmp_path / "hosts").unlink()
    seen.append(files.versions())
    assert len(set(seen)) == len(seen)
