"""Where the client's share link comes from: it is a secret, and arguments are for all to see."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

from trio_vmess.errors import ConfigError, ConfigProblem

LINK_VARIABLE: Final = "TRIO_VMESS_LINK"
"""The environment variable that is used if there is no argument."""

_SIZE_MAX: Final = 64 * 1024


def find_link(argument: str | None, *, environ: Mapping[str, str], stdin: TextIO | None) -> str:
    """Return a share link, without blanks around it.

    Args:
        argument: the link itself, `@` and the name of a file, or `-` for standard input; None
            for the environment.
        environ: the environment.
        stdin: standard input; None if it is closed.

    Raises:
        ConfigError: it cannot be read, or there is nothing in it.
    """
    if argument is None:
        return _checked(environ.get(LINK_VARIABLE, ""), LINK_VARIABLE)
    if argument == "-":
        return _checked("" if stdin is None else stdin.readline(_SIZE_MAX), "standard input")
    if not argument.startswith("@"):
        return argument
    file = argument[1:]
    try:
        with Path(file).open(encoding="utf-8") as opened:
            return _checked(opened.read(_SIZE_MAX), file)
    except OSError as exc:
        problem = f"cannot read the link: {exc.strerror or exc}"
        raise ConfigError(ConfigProblem(where=file, message=problem)) from None
    except UnicodeDecodeError:
        problem = "expected a text with a vmess:// link"
        raise ConfigError(ConfigProblem(where=file, message=problem)) from None


def _checked(text: str, where: str) -> str:
    link = text.strip()
    if not link:
        raise ConfigError(ConfigProblem(where=where, message="expected a vmess:// link"))
    return link
