"""Whatever a file holds, the answer is a `Config` or a `ConfigError`."""

import contextlib
import json
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from tests.config.streams import EVERY_KEY, uncommented
from tests.config.test_documents import GUIDE_CLIENT, GUIDE_SERVER, MANUAL_INBOUND
from tests.config.test_toml import JSON
from trio_vmess.config import Config, parse_config
from trio_vmess.config.reader import Report, Style
from trio_vmess.config.toml import read_native
from trio_vmess.config.tree import Foreign, Member, Members, Value
from trio_vmess.config.v2ray_json import read_v2ray
from trio_vmess.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.toml.example"

ODD = st.sampled_from(
    [
        None, True, -1, 0, 65536, 10**20, 1.5, 1e300, "", " ", "x", "1", "1-", "a:b", "[", "::1",
        "é", "\x00", "tcp,", ":", "env:", "@", "/", [], [[]], [None], ["x", 1], {}, {"": 0},
        {"x": {}}, [{}], "regexp:[", "geoip:", "10.0.0.0/99", "\U0001d7d9", "x" * 300,
    ]
)  # fmt: skip


def spots_of(value, path=()):
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from spots_of(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from spots_of(item, (*path, index))


def replace(value, path, new):
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return value | {key: replace(value[key], rest, new)}
    return [replace(item, rest, new) if i == key else item for i, item in enumerate(value)]


def to_value(value):
    if isinstance(value, dict):
        return Value(Members(tuple(Member(key, to_value(item)) for key, item in value.items())))
    if isinstance(value, list):
        return Value(tuple(map(to_value, value)))
    return Value(Foreign("nothing") if value is None else value)


SPOTS = list(spots_of(json.loads(JSON)))
STREAM_SPOTS = list(spots_of(EVERY_KEY))
NATIVE = tomli.loads(uncommented(EXAMPLE.read_text("utf-8")))
NATIVE_SPOTS = list(spots_of(NATIVE))


@given(st.sampled_from(SPOTS), ODD)
def test_any_value_anywhere_in_json_is_read_or_a_config_error(path, odd):
    changed = replace(json.loads(JSON), path, odd)
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_config(json.dumps(changed), environ={}), Config)


@given(st.sampled_from(STREAM_SPOTS), ODD)
def test_any_value_anywhere_in_a_stream_is_read_or_a_config_error(path, odd):
    changed = replace(EVERY_KEY, path, odd)
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_config(json.dumps(changed), environ={}), Config)


@given(st.sampled_from(NATIVE_SPOTS), ODD)
def test_any_value_anywhere_in_toml_is_read_or_a_config_error(path, odd):
    report = Report("", Style.NATIVE, environ={})
    config = read_native(report.open(to_value(replace(NATIVE, path, odd)), ""))
    assert isinstance(config, Config)
    with contextlib.suppress(ConfigError):
        assert isinstance(report.finish(), tuple)


@pytest.mark.parametrize("text", [GUIDE_CLIENT, GUIDE_SERVER, MANUAL_INBOUND, JSON])
def test_every_misspelt_key_is_found(text):
    config = json.loads("\n".join(line.split(" //")[0] for line in text.split("\n")))
    free = ("hosts", "levels")
    for path in spots_of(config):
        if not isinstance(path[-1], str) or (len(path) > 1 and path[-2] in free):
            continue
        *parents, key = path
        around = config
        for part in parents:
            around = around[part]
        misspelt = {("zz" + name if name == key else name): item for name, item in around.items()}
        report = Report("", Style.V2RAY, environ={})
        read_v2ray(report.open(to_value(replace(config, parents, misspelt)), ""))
        with pytest.raises(ConfigError) as caught:
            report.finish()
        assert any(each.where.endswith("zz" + key) for each in caught.value.problems)


def test_the_file_with_every_key_of_streams_is_valid():
    config = parse_config(json.dumps(EVERY_KEY), environ={})
    assert {each.where.rpartition(".")[2] for each in config.warnings} == {"alpn", "fingerprint"}
