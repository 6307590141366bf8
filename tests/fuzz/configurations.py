"""What the two fuzz targets of configuration files share."""

from trio_vmess.config import Config, Format, parse_config
from trio_vmess.errors import ConfigError, ConfigProblem


def check_config(text: str, kind: Format) -> None:
    """Raise unless a text is a configuration, or something is wrong at a place that it has."""
    try:
        config = parse_config(text, file="file", format=kind, environ={"PORT": "1080"})
    except ConfigError as exc:
        problems = exc.problems
    else:
        if not isinstance(config, Config):
            raise TypeError(f"{config} is not a configuration")
        problems = config.warnings
    # A byte order mark is skipped before lines are counted.
    lines = text.removeprefix("\ufeff").split("\n")
    for problem in problems:
        _check_problem(problem, lines)


def _check_problem(problem: ConfigProblem, lines: list[str]) -> None:
    if not problem.message or problem.file != "file":
        raise ValueError(f"{problem!r} says too little")
    if problem.line is None or problem.column is None:
        if problem.line is not problem.column:
            raise ValueError(f"{problem!r}: half a location")
        return
    if not 1 <= problem.line <= len(lines):
        raise ValueError(f"{problem!r}: there is no such line")
    if not 1 <= problem.column <= len(lines[problem.line - 1]) + 1:
        raise ValueError(f"{problem!r}: there is no such column")
