"""CPU time and memory of processes, and the ports that they are given."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from trio_vmess.bench import processes as processes_module
from trio_vmess.bench import usage_of
from trio_vmess.bench.ports import free_port
from trio_vmess.bench.processes import Child, ending_children

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@LINUX
def test_cpu_time_is_finer_than_the_ticks_of_the_kernel() -> None:
    before, start = usage_of(os.getpid()), time.process_time()
    work(0.003)
    after, spent = usage_of(os.getpid()), time.process_time() - start
    assert before is not None
    assert after is not None
    assert after.cpu - before.cpu >= 0.003
    # Reading /proc costs CPU time itself: a bound that only a mistaken unit would break.
    assert after.cpu - before.cpu < spent + 1
    assert (after.cpu - before.cpu) * os.sysconf("SC_CLK_TCK") % 1 != 0


@LINUX
def test_ticks_do_where_the_scheduler_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    work(0.05)
    monkeypatch.setattr(processes_module, "_scheduled", lambda _pid: None)
    usage = usage_of(os.getpid())
    assert usage is not None
    assert usage.cpu == pytest.approx(usage.user + usage.system)
    assert usage.cpu > 0


def test_a_free_port_is_given_once_and_can_be_bound() -> None:
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    with socket.create_server(("127.0.0.1", ports[0])) as server:
        assert server.getsockname()[1] == ports[0]


def test_an_interrupt_while_a_process_starts_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    def start_and_interrupt(*args: object, **kwargs: object) -> "subprocess.Popen[str]":
        started.append(popen(*args, **kwargs))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGINT)
        return started[0]

    popen = subprocess.Popen
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(subprocess, "Popen", start_and_interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), ending_children():
            Child("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
    finally:
        signal.signal(signal.SIGINT, before)
    (process,) = started
    assert process.poll() is not None
