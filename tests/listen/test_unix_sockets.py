"""Unix sockets to listen on: names, permissions and owners."""

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from tests.kit.rights import IS_ROOT, NOBODY, without_rights
from trio_vmess.listen import Permissions, open_listener

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
needs_abstract = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own name space")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may give files away")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_the_mode_is_that_of_the_settings(tmp_path: Path, mode: int, umask: int) -> None:
    path = tmp_path / "node.sock"
    before = os.umask(umask)
    try:
        open_listener(str(path), permissions=Permissions(mode=mode)).close()
        listener = open_listener(str(path), permissions=Permissions(mode=mode))
        assert stat.S_IMODE(path.stat().st_mode) == mode
        listener.close()
    finally:
        assert os.umask(before) == umask


def test_a_stale_socket_does_not_leave_its_mode_behind(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    path.chmod(0o777)
    listener = open_listener(str(path), permissions=Permissions(mode=0o600))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listener.close()


@needs_root
@pytest.mark.parametrize(
    ("owner", "group", "expected"),
    [
        ("nobody", "", (NOBODY, 0)),
        (str(NOBODY), "1", (NOBODY, 1)),
        ("", "daemon", (0, 1)),
        ("daemon", "root", (1, 0)),
    ],
)
def test_a_socket_is_given_away(
    tmp_path: Path, owner: str, group: str, expected: tuple[int, int]
) -> None:
    path = tmp_path / "node.sock"
    permissions = Permissions(mode=0o660, owner=owner, group=group)
    listener = open_listener(str(path), permissions=permissions)
    found = path.stat()
    assert (found.st_uid, found.st_gid) == expected
    assert stat.S_IMODE(found.st_mode) == 0o660
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("permissions", "complaint"),
    [
        (Permissions(mode=0o600, owner="no-such-user"), "this machine has no user 'no-such-user'"),
        (Permissions(mode=0o600, group="no-such"), "this machine has no group 'no-such'"),
        (Permissions(mode=0o600, owner="4294967295"), "this machine has no user '4294967295'"),
        (Permissions(mode=0o600, group="9" * 30), "this machine has no group '999"),
    ],
)
def test_an_owner_who_does_not_exist(
    tmp_path: Path, permissions: Permissions, complaint: str
) -> None:
    path = tmp_path / "node.sock"
    with pytest.raises(OSError, match=f"cannot listen on {path}: {complaint}"):
        open_listener(str(path), permissions=permissions)
    assert not path.exists()


def test_an_owner_whom_the_node_may_not_give_it_to() -> None:
    with without_rights() as folder:
        path = folder / "node.sock"
        with pytest.raises(OSError, match="cannot be given to the user 'root' and the group") as e:
            open_listener(str(path), permissions=Permissions(mode=0o660, owner="root", group="0"))
        assert not path.exists()
    assert e.value.errno == errno.EPERM
    assert str(e.value.strerror).startswith(f"cannot listen on {path}: the socket cannot be given")
    assert "run the node as root" in str(e.value)


@needs_abstract
@pytest.mark.parametrize("name", ["@trio-vmess-plain", "@@trio-vmess-padded"])
def test_an_abstract_name_as_it_is_written(name: str) -> None:
    listener = open_listener(f"{name}-{os.getpid()}")
    assert str(listener) == f"{name}-{os.getpid()}"
    listener.close()


@needs_abstract
def test_a_padded_name_fills_the_whole_address() -> None:
    name = f"trio-vmess-{os.getpid()}"
    listener = open_listener(f"@@{name}")
    with socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(ConnectionRefusedError):
            client.connect(f"\0{name}")
        client.connect(f"\0{name}".encode().ljust(108, b"\0"))
    listener.close()
