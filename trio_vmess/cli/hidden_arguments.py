"""Secrets among the arguments: overwritten where the system shows them to everybody.

Linux shows the arguments of a process from its own memory, which the process may write to. Until
that has happened, shortly after the start, they can be read; elsewhere they always can.
"""

import re
from pathlib import Path
from typing import Final

_SECRET: Final = re.compile(rb"vmess://([^\0]+)|(?<=\0)--id?[=\0]([^\0]+)", re.IGNORECASE)
"""A share link, or the value of --id, which argparse takes as --i, too."""

_MASK: Final = b"*"

_STAT_ARG_START: Final = 45
"""Where proc_pid_stat(5) has arg_start (field 48), counted behind the name of the program."""


def hide_secret_arguments(process: Path = Path("/proc/self")) -> bool:
    """Overwrite share links and user ids in this process's arguments as others see them.

    Args:
        process: its folder in /proc.

    Returns:
        False if there was something to hide, and the system does not let us.
    """
    try:
        shown = (process / "cmdline").read_bytes()
        spans = [match.span(match.lastindex or 0) for match in _SECRET.finditer(shown)]
        if not spans:
            return True
        # The program's name is in brackets and may hold any character.
        fields = (process / "stat").read_bytes().rpartition(b")")[2].split()
        start = int(fields[_STAT_ARG_START])
        with (process / "mem").open("r+b", buffering=0) as memory:
            for begin, end in spans:
                memory.seek(start + begin)
                memory.write(_MASK * (end - begin))
    except OSError:
        return False
    return True
