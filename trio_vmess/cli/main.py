"""The program: arguments in, an exit code out."""

import sys
from collections.abc import Sequence
from typing import Final

from trio_vmess.cli.hidden_arguments import hide_secret_arguments
from trio_vmess.cli.parser import parse_arguments

EXIT_STOPPED: Final = 0
EXIT_FAILURE: Final = 1
EXIT_CONFIG: Final = 23
"""The configuration is wrong; V2Ray uses the same code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Returns:
        The exit code: 0 done or stopped, 1 failed, 23 the configuration is wrong.

    Raises:
        SystemExit: from argparse: 0 after --version or --help, 2 after a mistake.
    """
    if argv is None:
        hide_secret_arguments()
    arguments = parse_arguments(argv)
    # Imported here, because they need nearly everything, and --version ends above.
    from trio_vmess.cli.commands import CommandError, ReportedFailure, run_command
    from trio_vmess.errors import ConfigError

    try:
        run_command(arguments)
    except ConfigError as exc:
        for problem in exc.problems:
            print(f"error: {problem}", file=sys.stderr)
        return EXIT_CONFIG
    except CommandError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return EXIT_FAILURE
    except ReportedFailure:
        return EXIT_FAILURE
    except OSError as exc:
        print(f"error: {exc.strerror or exc}", file=sys.stderr)
        return EXIT_FAILURE
    return EXIT_STOPPED
