"""Nodes while they run: their log files, signals, and the garbage collector."""

import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs
import trio

from trio_vmess.cli.garbage import CollectionWatch, rare_collection
from trio_vmess.cli.logs import Logs, logging_to
from trio_vmess.config import Config, LogLevel, LogSettings
from trio_vmess.node import Node

Say = Callable[[str], None]
"""Writes a line to standard output without waiting for whoever reads it."""

Start = Callable[[trio.Nursery, trio.Nursery, Say], Awaitable[Sequence[Node]]]
"""Starts nodes in the first nursery, and helpers that outlive them in the second."""


def run_node(
    config: Config,
    log_level: LogLevel | None,
    announce: Callable[[Node], Iterable[str]] = lambda _node: (),
) -> None:
    """Run one node until it is stopped by a signal.

    Args:
        config: the node's.
        log_level: replaces that of the configuration.
        announce: returns what else to say once the node listens, line by line.

    Raises:
        ConfigError: the configuration cannot be used.
        OSError: an inbound cannot listen, or a log file cannot be opened.
    """
    # Built before Trio runs, so that a ConfigError does not arrive inside an exception group.
    node = Node(config)

    async def start(nodes: trio.Nursery, _background: trio.Nursery, say: Say) -> Sequence[Node]:
        await nodes.start(node.run, name="node")
        for each in node.listening:
            say(f"listening: {each.protocol} on {each.address}{each.tag and f' ({each.tag})'}")
        if node.control_path:
            say(f"control: {node.control_path}")
        for line in announce(node):
            say(line)
        return (node,)

    run_nodes(config.log, log_level, start)


def run_nodes(log: LogSettings, log_level: LogLevel | None, start: Start) -> None:
    """Run nodes until they are stopped by a signal.

    Args:
        log: where the logs go.
        log_level: replaces that of the settings.
        start: starts the nodes.

    Raises:
        ConfigError: a log file cannot be opened.
        OSError: an inbound cannot listen.
    """
    if log_level is not None:
        log = attrs.evolve(log, level=log_level)
    _raise_file_limit()
    with logging_to(log) as logs, rare_collection():
        try:
            trio.run(_supervise, start, logs)
        except* OSError as group:
            # Each nursery adds a group; unwrap it so that the caller sees what the listener raised.
            raise OSError(*_first_of(group).args) from None


def _raise_file_limit() -> None:
    """Let the process open as many files as it may allow itself.

    The usual soft limit of 1024 is there for programs that use `select`.
    """
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS has a lower limit than the one that it says.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _first_of(group: BaseExceptionGroup[OSError]) -> OSError:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _supervise(start: Start, logs: Logs) -> None:
    """Run nodes: the first signal stops them gracefully, the second one at once."""
    async with trio.open_nursery() as background:
        running: list[Node] = []
        # Signals are received before the nodes start, so that they can interrupt the start.
        await background.start(
            _stop_on_signals, running, background.cancel_scope, name="stop on signals"
        )
        await background.start(CollectionWatch().run, name="garbage collection")
        async with trio.open_nursery() as nodes:
            running += await start(nodes, background, logs.say)
            has_files = bool(logs.files) or any(each.certificates for each in running)
            if has_files and sys.platform != "win32":
                await background.start(
                    _reload_on_signals, logs, running, name="reload files on signals"
                )
        background.cancel_scope.cancel()


async def _stop_on_signals(
    nodes: Sequence[Node],
    scope: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        is_stopping = False
        async for _ in signals:
            if is_stopping or not nodes:
                scope.cancel()
                return
            is_stopping = True
            for node in nodes:
                node.stop()


if sys.platform != "win32":

    async def _reload_on_signals(
        logs: Logs,
        nodes: Sequence[Node],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Open log files and load changed certificates again at each SIGHUP.

        A node that has neither is left to what the signal does by itself: it ends with its
        terminal, unless it was started with nohup.
        """
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                logs.reopen()
                for node in nodes:
                    for certificates in node.certificates:
                        certificates.reload_if_changed()
