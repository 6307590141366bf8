"""The command line of the comparison."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.carrier_check import check_carrier_of
from benchmarks.comparison.catalogue import list_workloads
from benchmarks.comparison.plot import draw, require_matplotlib
from benchmarks.comparison.progress import Lines
from benchmarks.comparison.report import describe_run, write_table
from benchmarks.comparison.sharing_check import check_sharing
from benchmarks.comparison.sizes import SIZES
from trio_vmess.bench import (
    OURS,
    BenchError,
    Checks,
    Comparison,
    Workload,
    find_implementations,
    summarise,
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare trio-vmess with V2Ray, sing-box and Xray, on loopback.",
        epilog="workloads: " + ", ".join(workload.name for workload in list_workloads()),
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure less: five minutes instead of forty"
    )
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument(
        "--only",
        type=_words,
        metavar="NAME,...",
        help="workloads, by name or by the beginning of their names",
    )
    parser.add_argument(
        "--peers", type=_words, metavar="NAME,...", help="v2ray, sing-box, xray, or none"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the table to this file"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot throughput and CPU to this file"
    )
    return parser


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def _chosen(names: Sequence[str] | None) -> list[Workload]:
    workloads = list_workloads()
    if names is None:
        return workloads
    known = {workload.name for workload in workloads}
    wanted = [name if name in known else f"{name}-" for name in names]
    return [
        workload
        for workload in workloads
        if any(
            workload.name == name or (name.endswith("-") and workload.name.startswith(name))
            for name in wanted
        )
    ]


def _raise_file_limit() -> None:
    """Raise the limit of open files, which the nodes inherit, for a thousand connections."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: Sequence[str]) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    workloads = _chosen(arguments.only)
    if not workloads:
        parser.error("--only matches no workload; --help lists them")
    size_name = arguments.size or ("quick" if arguments.quick else "full")
    size = SIZES[size_name]
    _raise_file_limit()
    try:
        if arguments.plot is not None:
            require_matplotlib()
        implementations = find_implementations(arguments.peers)
        comparison = Comparison(
            implementations,
            size,
            progress=Lines(),
            checks=Checks(before_start=check_carrier_of, after_start=check_sharing),
            is_quick=size_name != "full",
        )
        results = comparison.run(workloads)
        lines, contenders = summarise(results), list(implementations)
        head = describe_run(implementations, size.rounds)
        table = list(write_table(lines, contenders))
        print("", head, "", *table, sep="\n")
        faults = [
            f"Failed: {result.workload.name}, {name}: {fault}"
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
