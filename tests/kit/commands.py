"""`trio-vmess` as a person runs it: processes of their own, with the package as it lies here."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]


def _start(*arguments: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(
        [sys.executable, "-m", "trio_vmess", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=cwd,
    )


def run_python(*arguments: str, limit: float) -> "subprocess.CompletedProcess[str]":
    """Run Python, warnings being errors, to its end, in the project's folder.

    Args:
        arguments: a script's path from there, and what it is given.
        limit: seconds that it may take.
    """
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


@contextlib.contextmanager
def running_command(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command beside the test; it is killed at the end if it still runs."""
    process = _start(*arguments)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run_command(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, standard output and standard error."""
    process = _start(*arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out, err
