"""`trio-vmess decode`: reads a recording, and prints what is in it as it goes."""

import contextlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

import attrs

from trio_vmess.cli.arguments import DecodeArguments
from trio_vmess.cli.decoded_json import format_json
from trio_vmess.cli.decoded_text import View, format_text
from trio_vmess.core.vmess import DIALECTS, Account
from trio_vmess.diagnosis.decode import Reading, RecordedConnection, Summary, decode
from trio_vmess.errors import RecordingError


class NothingFoundError(Exception):
    """The recording has no connection of this user; the text says so."""


def run_decode(arguments: DecodeArguments, *, now: int) -> None:
    """Print what is in a recording.

    Args:
        arguments: those of the command.
        now: UTC seconds.

    Raises:
        RecordingError: the file cannot be opened, is no recording, or is damaged.
        NothingFoundError: nothing in it is of this user.
        ModuleNotFoundError: captures need the extra `decode`.
        OSError: reading or printing failed.
    """
    with _open(arguments.file) as file:
        _print_all(file, arguments, now)


def _open(name: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if name == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as exc:
        raise RecordingError(exc.strerror or str(exc)) from None


def _print_all(file: BinaryIO, arguments: DecodeArguments, now: int) -> None:
    reading = Reading(
        account=Account(user_id=arguments.user_id, alter_id_count=arguments.alter_id),
        now=now,
        time=arguments.time,
        dialect=DIALECTS[arguments.dialect],
    )
    format_entry = format_json if arguments.json else format_text
    view = View(payload=arguments.payload, secrets=arguments.secrets)
    if arguments.time is not None:
        view = attrs.evolve(view, clock="--time")
    summary: Summary | None = None
    try:
        for entry in decode(file, reading):
            match entry:
                case RecordedConnection(time=None) if arguments.time is None:
                    view = attrs.evolve(view, clock="now")
                case Summary():
                    summary = entry
                case _:
                    pass
            for line in format_entry(entry, view):
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does. What is buffered goes nowhere, in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if summary is not None and not summary.recognised:
        raise NothingFoundError(_explain_nothing(summary, view))


def _explain_nothing(summary: Summary, view: View) -> str:
    if not summary.connections:
        return "the recording has no bytes of any TCP connection"
    text = "no connection of this user was found"
    if view.clock == "now":
        text += "; to look for legacy headers of another time, say with --time when that was"
    return text
