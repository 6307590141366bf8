import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_vmess.config.jsonc import parse_jsonc
from trio_vmess.config.tree import Members, Value
from trio_vmess.errors import ConfigError

NAMES = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def plain(raw):
    match raw.content:
        case Members(items=items):
            return {member.key: plain(member.value) for member in items}
        case tuple():
            return [plain(item) for item in raw.content]
    return raw.content


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_plain_json_is_read_like_the_standard_library_does(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert plain(parse_jsonc(text)) == value


@given(VALUES)
def test_comments_and_trailing_commas_change_nothing(value):
    text = json.dumps(value, indent=1)
    lines = [f"{line} // , }} # /*" for line in text.split("\n")]
    noisy = "# first\n/* two\nlines */\n" + "\n".join(lines) + " /* end */ # end"
    assert plain(parse_jsonc(noisy)) == value
    trailing = text.replace("\n]", ",\n]") if isinstance(value, list) and value else text
    assert plain(parse_jsonc(trailing)) == value


@given(st.text(alphabet='{}[]",:/*#\\ \n0a-.tru"') | st.text())
def test_any_text_parses_or_is_a_config_error(text):
    try:
        parse_jsonc(text)
    except ConfigError as exc:
        (problem,) = exc.problems
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.column >= 1


def test_no_prefix_of_an_object_parses():
    text = '{"a": [1, {"b": "c\\n"}], /* x */ "d": -1.5e3, // y\n "e": null,}'
    assert plain(parse_jsonc(text)) == {"a": [1, {"b": "c\n"}], "d": -1500.0, "e": None}
    for end in range(len(text)):
        with pytest.raises(ConfigError):
            parse_jsonc(text[:end])


def test_comment_signs_in_strings_are_kept():
    assert plain(parse_jsonc('{"url": "https://a/#b /* c */"}')) == {"url": "https://a/#b /* c */"}


def test_every_value_has_its_line_and_column():
    root = parse_jsonc('{ // one\n  "a": [1,\n\t2],\n  "b": {"c": true}}')
    assert (root.line, root.column) == (1, 1)
    first, second = root.content.items
    assert (first.line, first.column) == (2, 3)
    assert first.value.content == (Value(1, 2, 9), Value(2, 3, 2))
    inner = second.value.content.items[0]
    assert (inner.line, inner.column, inner.value) == (4, 9, Value(True, 4, 14))


def test_repeated_keys_are_kept():
    assert [member.key for member in parse_jsonc('{"a": 1, "a": 2}').content.items] == ["a", "a"]


def test_integers_and_floats_stay_apart():
    values = [item.content for item in parse_jsonc("[1, 1.0, -0, 1e2]").content]
    assert [type(value) for value in values] == [int, float, int, float]
