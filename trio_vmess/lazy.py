"""Packages whose names load the module behind them when they are first used.

A package imports what it exports under `TYPE_CHECKING` alone, and has the same names in a table for
`lazy_names`: so a node loads the protocols that it speaks, and `--version` nothing at all. From
then on, a name is an attribute like any other. A test compares the tables with the imports.

Source:
    PEP 562.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType


def lazy_names(
    package: str, names: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return what a package has as `__getattr__` and as `__dir__`.

    Args:
        package: its `__name__`.
        names: the modules that it exports from, without its own name in front, and what each of
            them has. No name is that of a module in the package: importing that module would put
            it in the name's place.
    """
    homes = {name: f"{package}.{module}" for module, some in names.items() for name in some}

    def load(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        own = vars(sys.modules[package]).items()
        parts = (name for name, value in own if name[0] == "_" or isinstance(value, ModuleType))
        return sorted({*parts, *homes})

    return load, list_names
