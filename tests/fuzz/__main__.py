"""Fuzz the package's parsers; see README.md beside this.

python -m tests.fuzz run [TARGET ...] [--seconds N] [--folder DIR]
python -m tests.fuzz minimise [TARGET ...] [--folder DIR]
python -m tests.fuzz replay TARGET FILE [FILE ...]
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz.engine import fuzz, load_target, target_names
from tests.fuzz.stored_inputs import found_inputs, minimise, read_corpus, write_corpus

FOLDER: Final = Path(".fuzz")

_ALL: Final = f"of {', '.join(target_names())} (default: all of them)"


def main() -> int:
    arguments = _build_parser().parse_args()
    names: Sequence[str] = arguments.targets or target_names()
    match arguments.command:
        case "run":
            return _run(names, seconds=arguments.seconds, folder=arguments.folder)
        case "minimise":
            for name in names:
                _minimise(name, arguments.folder)
            return 0
        case _:
            (name,) = names
            for path in arguments.files:
                load_target(name).check(path.read_bytes())
                sys.stdout.write(f"{path}: nothing is wrong\n")
            return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the parsers.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="fuzz targets, one after the other")
    run.add_argument("--seconds", type=int, default=600, help="for each target (default: 600)")
    smaller = commands.add_parser("minimise", help="choose from what was found what is stored")
    for command in (run, smaller):
        command.add_argument("targets", nargs="*", type=_target, metavar="TARGET", help=_ALL)
        command.add_argument(
            "--folder", type=Path, default=FOLDER, help=f"of what is found (default: {FOLDER})"
        )
    replay = commands.add_parser("replay", help="check single inputs")
    replay.add_argument("targets", nargs=1, type=_target, metavar="TARGET")
    replay.add_argument("files", nargs="+", type=Path, metavar="FILE")
    return parser


def _target(name: str) -> str:
    if name not in target_names():
        raise argparse.ArgumentTypeError(f"unknown target '{name}'")
    return name


def _run(names: Sequence[str], *, seconds: int, folder: Path) -> int:
    """Fuzz one target here, or several in a process each, because libFuzzer ends its process."""
    if len(names) == 1:
        fuzz(names[0], seconds=seconds, folder=folder)
        return 0
    options = [f"--seconds={seconds}", f"--folder={folder}"]
    failed = [
        name
        for name in names
        if subprocess.call([sys.executable, "-m", "tests.fuzz", "run", name, *options])
    ]
    sys.stdout.write(f"failed: {', '.join(failed)}\n" if failed else "nothing found\n")
    return 1 if failed else 0


def _minimise(name: str, folder: Path) -> None:
    target = load_target(name)
    inputs = [*read_corpus(name), *found_inputs(folder, name)]
    chosen = minimise(target.check, seeds=target.SEEDS, inputs=inputs)
    write_corpus(name, chosen)
    sys.stdout.write(f"{name}: {len(chosen)} of {len(inputs)} inputs are stored\n")


if __name__ == "__main__":
    sys.exit(main())
