"""A client and a server as processes: started, measured, and ended."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Self

import attrs

from benchmarks.comparison.carrier_check import check_carrier
from benchmarks.comparison.implementations import Implementation
from benchmarks.comparison.setups import Setup
from benchmarks.comparison.sharing_check import check_sharing
from tests.kit.peer_configs import Json
from tests.kit.ports import free_port
from trio_vmess.bench import BenchError, Child, Target, Usage, usage_of


@attrs.frozen(kw_only=True)
class CpuTime:
    """CPU seconds of client and server since an earlier measurement."""

    client: float = 0.0
    server: float = 0.0

    @property
    def both(self) -> float:
        """The sum."""
        return self.client + self.server


class Pair:
    """A client and a server, each a process; a context manager that ends both.

    Args:
        client: the client's implementation; None, together with `server`, for no proxy.
        server: the server's implementation.
        setup: their configuration.
        origin: the origin's port.
    """

    def __init__(
        self,
        client: Implementation | None,
        server: Implementation | None,
        setup: Setup,
        *,
        origin: int,
    ) -> None:
        self._implementations = {"client": client, "server": server}
        self._setup = setup
        self._folder = tempfile.TemporaryDirectory(prefix="trio-vmess-compare-")
        self._children: dict[str, Child] = {}
        has_proxy = client is not None and server is not None
        self._ports = {role: free_port() if has_proxy else 0 for role in self._implementations}
        self._path: Child | None = None
        # Where the client finds the server.
        self._server_port = free_port() if has_proxy and setup.delay else self._ports["server"]
        self.target = Target(origin=origin, proxy=self._ports["client"] if has_proxy else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in (*self._children.values(), *([] if self._path is None else [self._path])):
            child.stop()
        self._folder.cleanup()

    def check_carrier(self) -> None:
        """Look at what the client sends to a server; before the start.

        Raises:
            BenchError: it does not use the carrier of the setup.
        """
        client = self._implementations["client"]
        if client is not None:
            check_carrier(client, self._setup, Path(self._folder.name))

    def check_sharing(self) -> None:
        """Count the connections between the two; after the start, and before any load.

        Raises:
            BenchError: those of programs do not share them, although the setup says so.
        """
        if self._setup.mux and self._implementations["server"] is not None:
            check_sharing(self.target, self._ports["server"])

    def start(self) -> float:
        """Start the server, then the client; return the seconds that both needed to listen."""
        seconds = self.start_one("server")
        if self._server_port != self._ports["server"]:
            self._start_path()
        return seconds + self.start_one("client")

    def _start_path(self) -> None:
        """Start what delays everything between client and server."""
        ends = (str(self._server_port), str(self._ports["server"]))
        command = [sys.executable, "-m", "tests.kit.delayed_path", *ends]
        self._path = Child("delayed path", [*command, str(self._setup.delay * 1e3)])
        self._path.wait_until_accepting(self._server_port)

    def start_one(self, role: str, *, wait: bool = True) -> float:
        """Start the `client` or the `server`; return the seconds it needed to listen."""
        implementation = self._implementations[role]
        if implementation is None:
            return 0.0
        path = Path(self._folder.name, f"{role}.json")
        path.write_text(json.dumps(self._configuration(implementation, role)), encoding="utf-8")
        child = Child(
            f"{implementation.name} {role}",
            [*implementation.command, str(path)],
            implementation.environment,
        )
        self._children[role] = child
        return child.wait_until_accepting(self._ports[role]) if wait else 0.0

    def _configuration(self, implementation: Implementation, role: str) -> Json:
        if role == "server":
            return implementation.write_server(self._setup, self._ports["server"])
        return implementation.write_client(self._setup, self._server_port, self._ports["client"])

    def pid_of(self, role: str) -> int:
        """Return the process id of the client or the server."""
        return self._children[role].pid

    def port_of(self, role: str) -> int:
        """Return the port of the client's SOCKS inbound, or the server's port."""
        return self._ports[role]

    def usage(self) -> dict[str, Usage]:
        """Return what each of the two has used so far.

        Raises:
            BenchError: one has ended, or there is no /proc.
        """
        found = {}
        for role, child in self._children.items():
            usage = usage_of(child.pid) if child.is_running else None
            if usage is None:
                raise BenchError(child.explain("has ended, or there is no /proc"))
            found[role] = usage
        return found

    def spent_since(self, before: dict[str, Usage]) -> CpuTime:
        """Return the CPU time of both since an earlier `usage`."""
        now = self.usage()
        return CpuTime(**{role: now[role].cpu - usage.cpu for role, usage in before.items()})

    def memory(self, role: str | None = None) -> int:
        """Return the resident bytes of one of the two, or of both."""
        return sum(each.memory for name, each in self.usage().items() if role in (None, name))
