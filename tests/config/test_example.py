"""config.toml.example loads, serves both roles, and has every key of the model."""

import pathlib
import re

import attrs
import pytest
import tomli

from tests.config.streams import uncommented
from trio_vmess.config import (
    Config,
    check_role,
    endpoints,
    load_config,
    model,
    parse_config,
    transports,
)

EXAMPLE = pathlib.Path(__file__).parents[2] / "config.toml.example"

NOT_IN_TOML = {"locations", "protocol", "stream", "carrier", "api", "warnings", "file", "lenient"}
VALUES = {
    "Dialect",
    "Location",
    "PortRange",
    "UnixSocket",
    "RedirectSettings",
    "ApiSettings",
    "ConfigProblem",
}


def model_classes():
    found = {
        each
        for module in (model, endpoints, transports)
        for each in vars(module).values()
        if isinstance(each, type) and attrs.has(each) and each.__name__ not in VALUES
    }
    return sorted(found, key=lambda each: each.__name__)


def keys_of(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item)


@pytest.fixture(scope="module")
def keys():
    text = uncommented(EXAMPLE.read_text("utf-8"))
    in_comments = re.findall(r"^\s*# ?([a-z_]+) = ", text, re.MULTILINE)
    return {*keys_of(tomli.loads(text)), *in_comments}


@pytest.mark.parametrize("cls", model_classes(), ids=lambda each: each.__name__)
def test_every_key_is_shown(cls, keys):
    names = {field.name.removeprefix("is_") for field in attrs.fields(cls)}
    assert names - NOT_IN_TOML <= keys


def test_the_model_was_found():
    assert len(model_classes()) > 30


def test_every_protocol_is_shown():
    config = load_config(EXAMPLE)
    assert {type(each.protocol) for each in config.inbounds} == set(
        endpoints.InboundProtocolSettings.__args__
    )
    assert {type(each.protocol) for each in config.outbounds} == set(
        endpoints.OutboundProtocolSettings.__args__
    )


def test_it_loads_without_a_warning_and_serves_both_roles(tmp_path):
    copy = tmp_path / EXAMPLE.name
    copy.write_bytes(EXAMPLE.read_bytes())
    copy.chmod(0o600)
    config = load_config(copy)
    assert config.warnings == ()
    check_role(config, "server")
    check_role(config, "client")


def test_it_loads_without_a_warning_when_nothing_is_in_comments():
    text = uncommented(EXAMPLE.read_text("utf-8"))
    config = parse_config(text, format="toml")
    assert config.warnings == ()
    carriers = {type(each.stream.carrier) for each in (*config.inbounds, *config.outbounds)}
    assert carriers == set(transports.CarrierSettings.__args__)


def test_what_it_calls_defaults_are_the_defaults():
    config = load_config(EXAMPLE)
    assert config.policy.levels[0] == model.PolicyLevelSettings()
    assert config.policy.levels[1] == model.PolicyLevelSettings(connection_idle=600)
    assert config.log == Config().log
    assert config.stats is Config().stats
