"""Mistakes in the syntax of JSON, and in keys and values of any section."""

import pytest

from tests.config.problems import check_problem, top

PROBLEMS = [
    # text, where, part of the message, line
    ("", "", "empty", 1),
    ("{", "", "the { on line 1 is not closed", 1),
    ('{\n  "log": {\n', "", "the { on line 2 is not closed", 3),
    ('{"a": 1\n "b": 2}', "", "is a comma missing after the previous value?", 2),
    ('{"a": [1 2]}', "", "comma or ]", 1),
    ("{'a': 1}", "", "single quote", 1),
    ("{\u201ca\u201d: 1}", "", "typographic", 1),
    ("{a: 1}", "", "without quotes", 1),
    ('{"a": tru}', "", "a value without quotes", 1),
    ('{"a": 08}', "", "no leading zeros", 1),
    ('{"a": 1abc}', "", "not a valid number", 1),
    ('{"a" 1}', "", "expected a colon", 1),
    ('{\n"a": "b\n"}', "", "does not end on its line", 2),
    ('{"a": "\\x"}', "", "backslash", 1),
    ('{"a": "\\ud800"}', "", "surrogate", 1),
    ("{} }", "", "after the end", 1),
    ("{\n/* no end", "", "never closed", 2),
    ('{"a": [1}', "", "the [ on line 1 must be closed first", 1),
    ('{"a": ' + "[" * 100, "", "nested more than 64 levels", 1),
    ('{"a": ' + "1" * 50 + "}", "", "more than 30 characters", 1),
    ("[1]", "", "found a list", 1),
    (top('"inbound": {}, "inbonds": []'), "inbonds", "did you mean 'inbounds'", 2),
    (top('"wholly_unlike": 1'), "wholly_unlike", "valid keys here: dns, inbound", 2),
    ("{}", "outbounds", "no outbound is configured", None),
    (top('"inbounds": {}'), "inbounds", "expected a list, found an object", 2),
    (top('"inbounds": [5]'), "inbounds[0]", "expected an object { … }, found the number 5", 2),
    (top('"log": "debug"'), "log", "expected an object", 2),
    (top('"log": {"loglevel": "warn"}'), "log.loglevel", "did you mean 'warning'", 2),
    (top('"log": {"level": "info"}'), "log.level", "write 'loglevel' instead", 2),
    (
        top('"log": {"access": 1}'),
        "log.access",
        "expected a string in quotes, found the number 1",
        2,
    ),
]


@pytest.mark.parametrize(("text", "where", "message", "line"), PROBLEMS)
def test_a_problem_is_reported_with_its_location(text, where, message, line):
    check_problem(text, "json", where, message, line)
