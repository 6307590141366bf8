"""The command line."""

from trio_vmess.cli.main import main

__all__ = [
    "main",
]
