"""Packages that load what they export when it is first used: their tables, and what that saves."""

import ast
import importlib
import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.architecture import PACKAGE, modules_of, parse, present_sources
from tests.kit.commands import run_python

SOURCES: Final = present_sources()
MODULES: Final = modules_of(SOURCES)
LAZY: Final = sorted(
    module
    for module, path in MODULES.items()
    if path.endswith("/__init__.py") and "lazy_names(" in SOURCES[path]
)


def late_imports(package: str) -> Iterator[ast.stmt]:
    """Yield the statements that only type checkers see."""
    for node in parse(SOURCES[MODULES[package]]).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from node.body


def table_of(package: str) -> dict[str, tuple[str, ...]]:
    """Return the table that a package gives to `lazy_names`."""
    (call,) = (
        node
        for node in ast.walk(parse(SOURCES[MODULES[package]]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_names"
    )
    table: dict[str, tuple[str, ...]] = ast.literal_eval(call.args[1])
    return table


def test_the_facade_is_lazy() -> None:
    assert {PACKAGE, f"{PACKAGE}.config", f"{PACKAGE}.inbound"} <= set(LAZY)


@pytest.mark.parametrize("package", LAZY)
def test_the_table_says_what_type_checkers_see(package: str) -> None:
    imports = {
        node.module: tuple(alias.name for alias in node.names)
        for node in late_imports(package)
        if isinstance(node, ast.ImportFrom)
    }
    assert {f"{package}.{home}": names for home, names in table_of(package).items()} == imports


@pytest.mark.parametrize("package", LAZY)
def test_no_name_is_that_of_a_module_beside_it(package: str) -> None:
    names = {name for names in table_of(package).values() for name in names}
    assert {name for name in names if f"{package}.{name}" in MODULES} == set()


@pytest.mark.parametrize("package", LAZY)
def test_names_are_what_their_modules_have(package: str) -> None:
    facade = importlib.import_module(package)
    for home, names in table_of(package).items():
        module = importlib.import_module(f"{package}.{home}")
        assert [name for name in names if getattr(facade, name) is not getattr(module, name)] == []


@pytest.mark.parametrize("package", LAZY)
def test_a_package_lists_its_names(package: str) -> None:
    facade = importlib.import_module(package)
    assert set(facade.__all__) <= set(dir(facade))


@pytest.mark.parametrize("package", LAZY)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    facade = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'no_such_name'"):
        _ = facade.no_such_name


def test_a_name_loads_its_module_and_stays() -> None:
    code = (
        "import json, sys, trio_vmess.routing as package\n"
        "home = 'trio_vmess.routing.ranges'\n"
        "steps = [home in sys.modules, 'Range' in vars(package)]\n"
        "package.Range\n"
        "steps += [home in sys.modules, 'Range' in vars(package)]\n"
        "print(json.dumps(steps))"
    )
    done = run_python("-c", code, limit=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [False, False, True, True]
