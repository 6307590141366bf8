import pytest

from trio_vmess.config import load_config, parse_config
from trio_vmess.errors import ConfigError

JSON = '{"outbounds": [{"protocol": "freedom"}]}'
TOML = '[[outbounds]]\nprotocol = "freedom"\n'


def problem_of(path):
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", JSON),
        ("a.JSON", JSON),
        ("a.jsonc", "// c\n" + JSON),
        ("a.json5", JSON),
        ("a.toml", TOML),
        ("a", JSON),
        ("a.conf", "\n# c\n" + JSON),
        ("a.conf", "/* c */" + JSON),
        ("a.conf", "# c\n" + TOML),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_suffix_or_content_decides_on_the_format(tmp_path, name, text, mark):
    path = tmp_path / name
    path.write_text(mark + text, "utf-8")
    config = load_config(path)
    assert len(config.outbounds) == 1
    assert config.file == str(path)


def test_the_suffix_wins_over_the_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(TOML, "utf-8")
    problem = problem_of(path)
    assert "the file is TOML, but its name ends in .json" in problem.message
    assert problem.file == str(path)


def test_the_argument_wins_over_the_suffix():
    assert parse_config(TOML, file="a.json", format="toml").outbounds


def test_a_missing_file_is_reported(tmp_path):
    problem = problem_of(tmp_path / "none.toml")
    assert "cannot read the file: No such file" in problem.message
    assert problem.file.endswith("none.toml")


def test_a_directory_is_reported(tmp_path):
    assert "cannot read the file" in problem_of(tmp_path).message


def test_a_file_that_is_not_utf8_is_reported_with_line_and_column(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{\n  "log\xff": 1}')
    problem = problem_of(path)
    assert "byte 0xff" in problem.message
    assert (problem.line, problem.column) == (2, 7)


def test_not_utf8_on_the_first_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xe9")
    problem = problem_of(path)
    assert (problem.line, problem.column) == (1, 1)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_utf16_file_is_recognised(tmp_path, codec):
    path = tmp_path / "a.json"
    path.write_bytes(("\ufeff" + JSON).encode(codec))
    assert "UTF-16; save it as UTF-8" in problem_of(path).message


def test_the_message_names_file_line_and_key():
    with pytest.raises(ConfigError) as caught:
        parse_config('{\n "log": 5,\n "outbounds": [{"protocol": "freedom"}]}', file="x.json")
    assert str(caught.value) == "x.json:2:9: log: expected an object { … }, found the number 5"
