"""The command line of the comparison."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.kinds import OURS, find_kinds
from benchmarks.comparison.plot import draw, require_matplotlib
from benchmarks.comparison.report import describe_run, summarise, write_table
from benchmarks.comparison.running import Comparison
from benchmarks.comparison.setups import SIZES
from benchmarks.comparison.works import Work, list_works
from trio_vmess.bench import BenchError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Our nodes against V2Ray, sing-box and Xray on loopback, on the same loads.",
        epilog="works: " + ", ".join(work.name for work in list_works()),
    )
    parser.add_argument("--quick", action="store_true", help="two minutes instead of twenty")
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument(
        "--only",
        type=_words,
        metavar="NAME,...",
        help="works, or how their names begin",
    )
    parser.add_argument(
        "--peers", type=_words, metavar="NAME,...", help="v2ray, sing-box, xray, or none"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw throughput and CPU there")
    return parser


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def _chosen(names: Sequence[str] | None) -> list[Work]:
    works = list_works()
    if names is None:
        return works
    known = {work.name for work in works}
    wanted = [name if name in known else f"{name}-" for name in names]
    return [
        work
        for work in works
        if any(
            work.name == name or (name.endswith("-") and work.name.startswith(name))
            for name in wanted
        )
    ]


def _raise_file_limit() -> None:
    """Allow a thousand connections: nodes inherit the limit."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: Sequence[str]) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    works = _chosen(arguments.only)
    if not works:
        parser.error("--only names nothing; --help lists the works")
    size_name = arguments.size or ("quick" if arguments.quick else "full")
    size = SIZES[size_name]
    _raise_file_limit()
    try:
        if arguments.plot is not None:
            require_matplotlib()
        kinds = find_kinds(arguments.peers)
        results = Comparison(kinds, size, is_quick=size_name != "full").run(works)
        lines, contenders = summarise(results), list(kinds)
        head = describe_run(kinds, size.rounds)
        table = list(write_table(lines, contenders))
        print("", head, "", *table, sep="\n")
        faults = [
            f"Failed: {result.work.name}, {name}: {fault}"
            for result in results
            for name, fault in result.faults.items()
        ]
        if faults:
            table += ["", *faults]
            print("", *faults, sep="\n")
        if arguments.markdown is not None:
            arguments.markdown.write_text("\n".join([head, "", *table, ""]), encoding="utf-8")
        if arguments.plot is not None:
            draw(lines, contenders, arguments.plot)
    except BenchError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if any(OURS in result.faults for result in results) else 0
