"""The command line in argparse: which commands there are, and the arguments of one of them."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from trio_vmess._version import __version__
from trio_vmess.cli.spellings import SpellingError, spell_out

if TYPE_CHECKING:
    from trio_vmess.cli.arguments import Arguments

EXIT_USAGE: Final = 2
"""The command line was not understood; argparse uses the same code."""

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "server": (
        "serve VMess clients",
        (
            "Serve VMess clients. Without a file there is one user, with a new id unless --id is "
            "given."
        ),
    ),
    "client": (
        "run a local proxy in front of a VMess server",
        "Run a local SOCKS or HTTP proxy, or both, in front of a VMess server.",
    ),
    "run": (
        "run a node from a configuration file",
        "Run the node that a configuration file describes: server, client, or both.",
    ),
    "check": (
        "check a configuration file without running it",
        (
            "Check a configuration file without running it. All mistakes are reported at once; the "
            "exit code is 23 if there are any."
        ),
    ),
    "demo": (
        "run a server, a client and a web page on loopback",
        "Run a server, a client and a web page on loopback; print a command to try.",
    ),
    "bench": (
        "measure this machine, against V2Ray, sing-box and Xray where installed",
        (
            "Measure a client and a server on loopback, and those of V2Ray, sing-box and Xray "
            "where they are installed (half a minute for each)."
        ),
    ),
    "stats": (
        "show the traffic counters of a running node",
        "Show the traffic counters of a running node; its file must enable 'stats'.",
    ),
    "explain": (
        "show how a connection would be routed, and why",
        (
            "Show which rule decides about a connection, which outbound it takes, and which "
            "addresses would be dialled. Only name servers are contacted."
        ),
    ),
    "decode": (
        "show what a recording of VMess connections says",
        (
            "Show headers, chunks and frames of the VMess connections in a recording: a capture "
            "(pcap or pcapng; needs the extra 'decode'), or hex text in which '>' stands before "
            "the client's bytes and '<' before the server's. The user's id is all that it takes "
            "to read both directions. The exit code is 1 if there is no connection of this user."
        ),
    ),
    "doctor": (
        "find out why a VMess server cannot be used",
        (
            "Connect to a VMess server step by step, say what works and what does not, and end "
            "with the one thing to fix. The exit code is 1 if a step fails."
        ),
    ),
}
"""Commands with what the list of commands says of them, and what their own help says."""


def parse_arguments(argv: Sequence[str] | None) -> "Arguments":
    """Read the command line.

    Args:
        argv: the arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: from argparse: 0 after --version or --help, 2 after a mistake.
    """
    parser, commands = _build_parser()
    try:
        words = spell_out(sys.argv[1:] if argv is None else argv, commands)
    except SpellingError as exc:
        parser.error(str(exc))
    # Options in front of the command have no values.
    name = next((word for word in words if not word.startswith("-")), None)
    command = commands.get(name or "")
    if name is None or command is None:
        parser.parse_args(words)
        parser.print_help(sys.stderr)
        raise SystemExit(EXIT_USAGE)
    # Imported here, as they need what --version and --help can do without.
    from trio_vmess.cli.options import add_options, choose_file, find_conflict

    make = add_options(name, command)
    # The only place where arguments are untyped: each class has the attribute names that argparse
    # stores.
    values = vars(parser.parse_args(words))
    if problem := choose_file(values):
        command.error(problem)
    arguments = make(**values)
    if problem := find_conflict(arguments):
        command.error(problem)
    return arguments


def _build_parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser, and those of the commands, which have no options yet."""
    parser = argparse.ArgumentParser(
        prog="trio-vmess",
        description="VMess, the encrypted proxy protocol of V2Ray, on Trio.",
        epilog=(
            "'trio-vmess COMMAND --help' lists the options of a command. 'trio-vmess FILE' runs a "
            "configuration file; V2Ray's -config, -test and -version are understood."
        ),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    return parser, {
        name: commands.add_parser(name, help=summary, description=description)
        for name, (summary, description) in _COMMANDS.items()
    }
