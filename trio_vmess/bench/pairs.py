"""A client and a server as processes: started, measured, and ended."""

import json
import math
import tempfile
from pathlib import Path
from typing import Final, Self

import attrs

from trio_vmess.bench.implementations import Implementation
from trio_vmess.bench.loads import Target
from trio_vmess.bench.ports import free_port
from trio_vmess.bench.processes import BenchError, Child, Usage, usage_of
from trio_vmess.bench.setups import Json, Setup

_UNKNOWN: Final = Usage(user=math.nan, system=math.nan, cpu=math.nan, memory=math.nan)


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

    Attributes:
        target: where loads connect to.
    """

    def __init__(
        self,
        client: Implementation | None,
        server: Implementation | None,
        setup: Setup,
        *,
        origin: int,
    ) -> None:
        self.client = client
        self.server = server
        self.setup = setup
        self._implementations = {"client": client, "server": server}
        self._folder = tempfile.TemporaryDirectory(prefix="trio-vmess-bench-")
        self._children: dict[str, Child] = {}
        has_proxy = client is not None and server is not None
        self._ports = {role: free_port() if has_proxy else 0 for role in self._implementations}
        self._between: Child | None = None
        # Where the client finds the server.
        self._server_port = free_port() if has_proxy and setup.between else self._ports["server"]
        self.target = Target(origin=origin, proxy=self._ports["client"] if has_proxy else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in (*self._children.values(), self._between):
            if child is not None:
                child.stop()
        self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """A folder for files, which goes with the pair."""
        return Path(self._folder.name)

    def start(self) -> float:
        """Start the server, then the client; return the seconds that both needed to listen."""
        seconds = self.start_one("server")
        if self._server_port != self._ports["server"]:
            self._start_between()
        return seconds + self.start_one("client")

    def _start_between(self) -> None:
        ends = (str(self._server_port), str(self._ports["server"]))
        self._between = Child("program between the nodes", [*self.setup.between, *ends])
        self._between.wait_until_accepting(self._server_port)

    def start_one(self, role: str, *, wait: bool = True) -> float:
        """Start the `client` or the `server`; return the seconds it needed to listen."""
        implementation = self._implementations[role]
        if implementation is None:
            return 0.0
        path = self.folder / f"{role}.json"
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
            return implementation.write_server(self.setup, self._ports["server"])
        return implementation.write_client(self.setup, self._server_port, self._ports["client"])

    def pid_of(self, role: str) -> int:
        """Return the process id of the client or the server."""
        return self._children[role].pid

    def port_of(self, role: str) -> int:
        """Return the port of the client's SOCKS inbound, or the server's port."""
        return self._ports[role]

    def usage(self) -> dict[str, Usage]:
        """Return what each of the two has used so far; NaN where there is no /proc.

        Raises:
            BenchError: one has ended.
        """
        found: dict[str, Usage] = {}
        for role, child in self._children.items():
            if not child.is_running:
                raise BenchError(child.explain("has ended"))
            found[role] = usage_of(child.pid) or _UNKNOWN
        return found

    def spent_since(self, before: dict[str, Usage]) -> CpuTime:
        """Return the CPU time of both since an earlier `usage`."""
        now = self.usage()
        return CpuTime(**{role: now[role].cpu - usage.cpu for role, usage in before.items()})

    def memory(self, role: str | None = None) -> float:
        """Return the resident bytes of one of the two, or of both."""
        return sum(each.memory for name, each in self.usage().items() if role in (None, name))
