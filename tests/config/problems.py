"""Configurations with mistakes, and how their problems are checked."""

import textwrap

import pytest

from trio_vmess.config import parse_config
from trio_vmess.errors import ConfigError

ID = "b831381d-6324-4d53-ad4f-8cda48b30811"
ID2 = "27848739-7e62-4138-9fd3-098a63964b6b"
FREEDOM = '"outbounds": [{"protocol": "freedom", "tag": "direct"}]'


def vmess(settings, rest=""):
    return (
        '{"inbounds": [{"port": 1, "protocol": "vmess", "tag": "in", "settings":\n'
        + settings
        + "}"
        + rest
        + "],\n"
        + FREEDOM
        + "}"
    )


def inbound(text):
    return '{"inbounds": [\n' + text + "\n],\n" + FREEDOM + "}"


def outbound(text):
    return '{"outbounds": [\n' + text + "\n]}"


def top(text):
    return "{\n" + text + ",\n" + FREEDOM + "}"


def routing(rule, rest=""):
    return top('"routing": {"rules": [\n' + rule + "]" + rest + "}")


def check_problem(text, kind, where, message, line):
    """Check that a text has a problem at a key path and a line, and what its message contains."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", format=kind, environ={"BAD": "x"})
    problems = caught.value.problems
    matching = [each for each in problems if each.where == where and message in each.message]
    assert matching, textwrap.indent(str(caught.value), "  ")
    assert (matching[0].file, matching[0].line) == ("f", line), str(caught.value)
    assert ID not in str(caught.value), "an id is shown"
