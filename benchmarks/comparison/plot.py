"""Throughput and CPU per GiB as bars; needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trio_vmess.bench import BenchError, Line

_PANELS: Final = (("rate", "throughput, MB/s"), ("cpu", "CPU of both nodes, s per GiB"))


def require_matplotlib() -> None:
    """Check before measuring for an hour.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BenchError("--plot needs matplotlib: pip install 'trio-vmess[bench]'") from None


def draw(lines: Sequence[Line], contenders: Sequence[str], path: Path) -> None:
    """Write the bulk workloads with one stream as two panels of bars.

    Raises:
        BenchError: none of them was measured.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bulk = [line for line in lines if line.name.startswith("bulk-") and line.name.endswith("-1")]
    if not bulk:
        raise BenchError("nothing to plot: --only excludes the bulk workloads with one stream")
    figure, axes = pyplot.subplots(len(_PANELS), 1, figsize=(9, 7), layout="constrained")
    for panel, (key, title) in zip(axes, _PANELS, strict=True):
        shown = [line for line in bulk if line.column.key == key]
        width = 0.8 / len(contenders)
        for number, name in enumerate(contenders):
            positions = [index + number * width for index in range(len(shown))]
            panel.bar(positions, [line.medians.get(name, 0.0) for line in shown], width, label=name)
        labels = [
            line.name.removeprefix("bulk-").removesuffix("-1").replace("-", "\n", 1)
            for line in shown
        ]
        middle = (len(contenders) - 1) * width / 2
        panel.set_xticks([index + middle for index in range(len(shown))], labels, fontsize=8)
        panel.set_title(title, fontsize=10)
        panel.grid(axis="y", alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
