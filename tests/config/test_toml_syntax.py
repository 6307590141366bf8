"""Mistakes in the syntax of TOML: what is said about each, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.config import parse_config
from trio_vmess.config.toml import parse_toml
from trio_vmess.errors import ConfigError

MISTAKES = [
    # text, line and column, part of the message
    ("protocol = vmess", (1, 12), 'a value without quotes; write protocol = "…"'),
    ("a = 127.0.0.1", (1, 10), "a value without quotes"),
    ("listen = ::1", (1, 10), 'write listen = "…"'),
    ("a = /var/log", (1, 5), "a value without quotes"),
    ("u = [\n  {id = b8},\n]", (2, 9), "a value without quotes"),
    ("a =  # later", (1, 6), "'a' has no value"),
    ("a = True", (1, 5), "true and false in lower case"),
    ("a = “x”", (1, 5), 'a typographic quote “; write a plain "'),
    ('a = "x\nb = 1', (1, 7), "is its closing quote missing?"),
    ("a = 'x", (1, 7), "is its closing quote missing?"),
    ('a = "C:\\Users"', (1, 10), "put the text between single quotes"),
    ("a = 1 // no", (1, 7), "a comment begins with #"),
    ("a = 1,", (1, 6), "remove the comma"),
    ("a = 1 b = 2", (1, 7), "each setting has a line of its own"),
    ("a = [1]]", (1, 8), "found ], but nothing is open"),
    ("a = 1\n}", (2, 1), "found }, but nothing is open"),
    (
        "a = [1 2]",
        (1, 8),
        "the list that begins on line 1 is not closed with ]; is a comma missing",
    ),
    ("x = 1\na = [\n 1,\n\nb = 3\n", (5, 1), "the list that begins on line 2 is not closed with ]"),
    ("x = 1\na = [1,\n", (2, 1), "the list that begins on line 2 is not closed with ]"),
    ("a = {b = 1", (1, 1), "the table that begins on line 1 is not closed with }"),
    ("port: 1", (1, 5), "found a colon; write ="),
    ("port", (1, 5), 'expected key = "value", [table] or [[list]]'),
    ("= 1", (1, 1), "a key is missing before the ="),
    ("[x", (1, 3), "the header is not closed with ]"),
    ("[[x]", (1, 4), "the header is not closed with ]]"),
    ("a = 1\n\n# two\na = 2  # again\nb = 3", (4, 1), "'a' is already set on line 1"),
    ("[[x]]\na = 1\n[[x]]\na = 1\na = 2", (5, 1), "'x.a' is already set on line 4"),
    ("a.b = 1\na = 2", (2, 1), "'a' is already set on line 1"),
    ("x = {a = 1}\nx.b = 2", (2, 1), "'x.b' is already set on line 1"),
    ("a = {b = 1, b = 2}", (1, 18), "the same key twice"),
    ("x = []\n[[x]]", (2, 1), "'x' is already set on line 1"),
    ("[log]\n[dns]\n[log]", (3, 1), "the table [log] is already on line 1; put its keys together"),
    (
        "[inbounds]\nport = 1\n[[inbounds]]\nport = 2",
        (3, 1),
        (
            "found [[inbounds]], but line 1 has [inbounds]; write [[inbounds]] with double "
            "brackets, once for each entry"
        ),
    ),
    (
        "[[inbounds]]\nport = 1\n[inbounds]\nport = 2",
        (3, 1),
        "found [inbounds], but line 1 has [[inbounds]]; write [[inbounds]] with double",
    ),
]


@pytest.mark.parametrize(("text", "spot", "message"), MISTAKES)
def test_a_mistake_is_explained(text: str, spot: tuple[int, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml(text, file="f.toml")
    (problem,) = caught.value.problems
    assert problem.message.startswith("not valid TOML: ")
    assert message in problem.message
    assert (problem.file, problem.line, problem.column) == ("f.toml", *spot)


def test_a_value_is_not_shown_for_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml("password = hunter2hunter2\nid = b831381d")
    assert "hunter2" not in str(caught.value)


@given(st.text(alphabet="ab=.[]{}\"'#\\,: \n1“", max_size=30))
def test_any_text_is_read_or_explained(text: str) -> None:
    try:
        parse_toml(text)
    except ConfigError as exc:
        (problem,) = exc.problems
        lines = text.split("\n")
        assert problem.line is not None
        assert 1 <= problem.line <= len(lines)


@pytest.mark.parametrize(
    ("file", "text", "line", "message"),
    [
        (
            "node.toml",
            '# a comment\n{"inbounds": []}',
            None,
            "the file is JSON, but its name ends in .toml; let it end in .json",
        ),
        (
            "config.json",
            "# a comment\n\n[[inbounds]]\nport = 1",
            3,
            "the file is TOML, but its name ends in .json; let it end in .toml",
        ),
        ("config.JSON", "[log]\nlevel = 'info'", 1, "let it end in .toml"),
        ("config.jsonc", "stats = true", 1, "its name ends in .jsonc; let it end in .toml"),
        ("config.json", "inbounds: []", 1, "not valid JSON"),
    ],
)
def test_a_file_whose_name_says_another_format_is_named(
    file: str, text: str, line: int | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file=file)
    problem = caught.value.problems[0]
    assert message in problem.message
    assert (problem.file, problem.line) == (file, line)
