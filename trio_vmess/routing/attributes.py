"""Conditions on the requests of HTTP inbounds: V2Ray's `attrs`.

V2Ray has an interpreter of Starlark for them. What people write is a comparison or a few of them,
in a notation that Python has, too; so Python's parser takes them apart, and the parts that are
known are turned into functions. Nothing is ever executed that the parser has made.

    attrs[':method'] == 'GET' and attrs[':path'].startswith('/test')
    'accept' in attrs and 'text/html' in attrs['accept']
    attrs.get('user-agent', '').lower() != 'curl'

A key that a request does not have makes the whole condition false, as in V2Ray, unless `get` or
`in attrs` asks for it.

Source:
    v2ray-core, app/router/condition.go, AttributeMatcher.
"""

import ast
from collections.abc import Callable, Mapping
from typing import Final, cast

_Attributes = Mapping[str, str]
_Value = str | bool | None
_Read = Callable[[_Attributes], _Value]

Condition = Callable[[_Attributes], bool]
"""Tells whether the attributes of a request fulfil it."""

_NAME: Final = "attrs"
_SIZE_MAX: Final = 4096
_EXAMPLES: Final = (
    "supported are attrs['key'], attrs.get('key', ''), ==, !=, in, and, or, not, and the methods "
    "startswith, endswith, lower, upper and strip"
)
_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_CHANGES: Final[Mapping[str, Callable[[str], str]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "strip": str.strip,
}


def parse_attributes(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is not valid, or has something that is not supported.
    """
    if len(text) > _SIZE_MAX:
        raise ValueError(f"the expression has more than {_SIZE_MAX} characters")
    try:
        read = _read(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        raise ValueError(f"{text!r} is not a valid expression; {_EXAMPLES}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the expression is nested too deeply") from None

    def holds(attributes: _Attributes) -> bool:
        try:
            return bool(read(attributes))
        except (KeyError, TypeError):
            return False

    return holds


def _read(node: ast.expr) -> _Read:
    match node:
        case ast.Constant(value=str() | bool() as constant):
            return lambda _: constant
        case ast.Subscript(value=ast.Name(id="attrs"), slice=ast.Constant(value=str() as key)):
            return lambda attributes: attributes[key]
        case ast.BoolOp(op=op, values=nodes):
            return _read_junction(isinstance(op, ast.And), [_read(each) for each in nodes])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _read(operand)
            return lambda attributes: not inner(attributes)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _read_comparison(left, op, right)
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=args, keywords=[]):
            return _read_call(owner, name, args)
        case _:
            raise _unsupported(node)


def _unsupported(node: ast.AST) -> ValueError:
    return ValueError(f"{ast.unparse(node)!r} is not supported in 'attrs'; {_EXAMPLES}")


def _read_junction(needs_all: bool, parts: list[_Read]) -> _Read:
    def read(attributes: _Attributes) -> _Value:
        found = (part(attributes) for part in parts)
        return all(found) if needs_all else any(found)

    return read


def _read_comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Read:
    one = _read(left)
    if isinstance(op, ast.In | ast.NotIn):
        is_in = _read_membership(one, right)
        return is_in if isinstance(op, ast.In) else lambda attributes: not is_in(attributes)
    other = _read(right)
    if isinstance(op, ast.Eq):
        return lambda attributes: one(attributes) == other(attributes)
    if isinstance(op, ast.NotEq):
        return lambda attributes: one(attributes) != other(attributes)
    raise _unsupported(ast.Compare(left=left, ops=[op], comparators=[right]))


def _read_membership(one: _Read, right: ast.expr) -> _Read:
    if isinstance(right, ast.Name) and right.id == _NAME:
        return lambda attributes: one(attributes) in attributes
    if isinstance(right, ast.List | ast.Tuple):
        members = [_read(each) for each in right.elts]
        return lambda attributes: one(attributes) in [each(attributes) for each in members]
    other = _read(right)
    return lambda attributes: _text(one(attributes)) in _text(other(attributes))


def _read_call(value: ast.expr, name: str, args: list[ast.expr]) -> _Read:
    if isinstance(value, ast.Name) and value.id == _NAME and name == "get" and 1 <= len(args) <= 2:
        key, *default = (_read(each) for each in args)
        return lambda attributes: attributes.get(
            _text(key(attributes)), cast("str", default[0](attributes) if default else None)
        )
    if name in _TESTS and len(args) == 1:
        test, text, part = _TESTS[name], _read(value), _read(args[0])
        return lambda attributes: test(_text(text(attributes)), _text(part(attributes)))
    if name in _CHANGES and not args:
        change, text = _CHANGES[name], _read(value)
        return lambda attributes: change(_text(text(attributes)))
    call = ast.Call(func=ast.Attribute(value=value, attr=name), args=args, keywords=[])
    raise _unsupported(call)


def _text(value: _Value) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("not a string")
