"""Reports of several problems, and what they must not show."""

import pytest

from tests.config.problems import ID, outbound
from trio_vmess.config import parse_config
from trio_vmess.errors import ConfigError


def test_all_problems_are_reported_at_once_in_file_order():
    text = """{
        "inbounds": [
            {"port": 70000, "protocol": "http"},
            {"port": 1, "protocol": "vmess", "settings": {"clients": [{"id": "", "level": "x"}]}}
        ],
        "outbounds": [{"protocol": "freedm"}],
        "unknown": 1
    }"""
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert [(each.line, each.where) for each in caught.value.problems] == [
        (3, "inbounds[0].port"),
        (4, "inbounds[1].settings.clients[0].id"),
        (4, "inbounds[1].settings.clients[0].level"),
        (6, "outbounds[0].protocol"),
        (7, "unknown"),
    ]


def test_secrets_are_not_shown():
    text = outbound(
        '{"protocol": "socks", "settings": {"servers": [{"address": "a.b", "port": 1, "users":'
        '[{"user": "u", "pass": "hunter2hunter2", "passs": "hunter2hunter2"}]}]}},'
        '{"protocol": "vmess", "settings": {"address": "a.b", "port": 1, "id": "' + ID + '00"}}'
    )
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    shown = str(caught.value)
    assert "hunter2" not in shown
    assert ID[:9] not in shown
    assert ID[:8] in shown
