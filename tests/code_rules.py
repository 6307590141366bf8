"""Rules about the package's code that its syntax trees can tell, and no linter checks.

- Every task has a name: `start_soon` and `start` of a nursery are called with `name=`. Else a
  crash report or a debugger lists a dozen tasks called `run`.
- No `match` is silently open: it ends in a case that takes everything. Where all cases before are
  members of an enumeration or classes of ours, that is a closed set, and the last case raises or is
  `assert_never`, so that a new member cannot be overlooked. Over strings, numbers, other libraries'
  classes and conditions on attributes, a default is a case like any other.

The checkers are plain code over a mapping from paths to sources, like those of
`tests.architecture`.
"""

import ast
import builtins
from collections.abc import Iterator
from typing import Final

from tests.architecture import PACKAGE, Sources, parse

_BUILTINS: Final = frozenset(vars(builtins))


def find_unnamed_tasks(sources: Sources) -> list[str]:
    """Return the starts of tasks that get no name, as `path:line`."""
    return [
        f"{path}:{node.lineno}"
        for path, source in sources.items()
        for node in ast.walk(parse(source))
        if isinstance(node, ast.expr | ast.stmt) and _starts_unnamed_task(node)
    ]


def _starts_unnamed_task(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="start_soon"), keywords=keywords):
            pass
        # Others have a method `start`, too, but to that of a nursery a function is passed.
        case ast.Call(func=ast.Attribute(attr="start"), args=[_, *_], keywords=keywords):
            pass
        case (
            ast.FunctionDef(decorator_list=decorators)
            | ast.AsyncFunctionDef(decorator_list=decorators)
        ):
            return any(
                isinstance(each, ast.Attribute) and each.attr == "start_soon" for each in decorators
            )
        case _:
            return False
    return all(keyword.arg != "name" for keyword in keywords)


def find_open_matches(sources: Sources) -> list[str]:
    """Return the `match` statements that may fall through or overlook something, as `path:line`."""
    found: list[str] = []
    for path, source in sources.items():
        tree = parse(source)
        foreign = _BUILTINS | _foreign_names(tree)
        found += [
            f"{path}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Match) and _is_open(node, foreign)
        ]
    return found


def _foreign_names(tree: ast.AST) -> set[str]:
    """Return the names that a module imports from outside the package."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                origin = node.module if isinstance(node, ast.ImportFrom) else None
                names |= {
                    (alias.asname or alias.name).partition(".")[0]
                    for alias in aliases
                    if (origin or alias.name).partition(".")[0] != PACKAGE
                }
            case _:
                continue
    return names


def _is_open(statement: ast.Match, foreign: frozenset[str]) -> bool:
    *others, last = statement.cases
    if last.guard is not None or not _takes_everything(last.pattern):
        return True
    alternatives = [each for case in others for each in _alternatives(case.pattern)]
    is_closed_set = all(_is_member(each, foreign) for each in alternatives)
    return is_closed_set and not _always_raises(last.body)


def _takes_everything(pattern: ast.pattern) -> bool:
    return any(isinstance(each, ast.MatchAs) for each in _alternatives(pattern))


def _alternatives(pattern: ast.pattern) -> Iterator[ast.pattern]:
    """Yield what a pattern consists of side by side, but not what that has inside."""
    match pattern:
        case ast.MatchOr(patterns=patterns):
            for each in patterns:
                yield from _alternatives(each)
        case ast.MatchAs(pattern=ast.pattern() as inner):
            yield from _alternatives(inner)
        case _:
            yield pattern


def _is_member(pattern: ast.pattern, foreign: frozenset[str]) -> bool:
    """Tell whether a pattern is a member of an enumeration of ours, or one of our classes.

    `Event(payload=payload)` takes every Event and counts; `Event(payload=b"")` takes some.
    """
    match pattern:
        case ast.MatchValue(value=ast.Attribute() as name):
            return _first_name(name) not in foreign
        case ast.MatchClass(cls=name, patterns=inner, kwd_patterns=more):
            takes_all = all(_takes_everything(each) for each in (*inner, *more))
            return takes_all and _first_name(name) not in foreign
        case _:
            return False


def _first_name(node: ast.expr) -> str:
    return ast.unparse(node).partition(".")[0]


def _always_raises(body: list[ast.stmt]) -> bool:
    match body[-1]:
        case ast.Raise():
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return True
        case _:
            return False
