"""The machine that figures are measured on, in a line; a figure without it says little."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Final

import attrs

HIGH_LOAD: Final = 0.5
"""Load average for each core from which others disturb a measurement."""


@attrs.frozen(kw_only=True)
class Machine:
    """The machine, before anything is measured.

    Attributes:
        processor: number and model of the cores.
        cores: how many.
        python: version and name of the interpreter.
        load: load average of the last minute; None where the system has none.
    """

    processor: str
    cores: int
    python: str
    load: float | None

    @property
    def line(self) -> str:
        """Everything about it."""
        load = "" if self.load is None else f", load average {self.load:.2f}"
        return f"{self.processor}, {self.python}{load}"

    @property
    def warning(self) -> str:
        """What is wrong with it for a measurement; empty if nothing is."""
        if self.load is None or self.load < HIGH_LOAD * self.cores:
            return ""
        return (
            f"other programs are busy (load average {self.load:.2f} on {self.cores} cores): "
            "figures are too low and differ between runs; ratios suffer less"
        )


def look_at_machine() -> Machine:
    """Return what this machine is, and how busy."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        load = None
    return Machine(
        processor=describe_processor(),
        cores=os.cpu_count() or 1,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load=load,
    )


def describe_processor() -> str:
    """Return the number of cores, and their model where Linux tells it."""
    models: list[str] = []
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models) or os.cpu_count()} cores of {models[0] if models else platform.machine()}"
