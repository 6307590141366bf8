"""Mistakes in TOML."""

import pytest

from tests.config.problems import check_problem

TOML_IN = '[[inbounds]]\nprotocol = "vmess"\nport = 1\n'

PROBLEMS = [
    # text, where, part of the message, line
    ("a = ", "", "not valid TOML", 1),
    ("", "outbounds", "no outbound is configured", None),
    ("[outbounds]\nprotocol = 'freedom'", "outbounds", "write [[outbounds]]", 1),
    (TOML_IN + "userz = []", "inbounds[0].userz", "did you mean 'users'", 4),
    (TOML_IN + "clients = []", "inbounds[0].clients", "write 'users' instead", 4),
    (
        TOML_IN + "[inbounds.settings]",
        "inbounds[0].settings",
        "set the keys of 'settings' beside 'protocol'",
        4,
    ),
    (
        TOML_IN + "disableInsecureEncryption = true",
        "inbounds[0].disableInsecureEncryption",
        "TOML keys are snake_case; write 'disable_insecure_encryption' instead",
        4,
    ),
    (TOML_IN + "PORT = 1", "inbounds[0].PORT", "write 'port' instead", 4),
    (TOML_IN + "tag = 2020-01-01", "inbounds[0].tag", "found a date or a time", 4),
    (TOML_IN + "max_clock_skew = inf", "inbounds[0].max_clock_skew", "number of seconds", 4),
    (TOML_IN + "detour = 'x'", "inbounds[0].detour", "no inbound has the tag 'x'", 4),
    (
        TOML_IN + "users = [\n  {id = 'a'},\n  # two\n  {id = 'b', alter_id = 70000},\n]",
        "inbounds[0].users[1].alter_id",
        "0 to 65535",
        7,
    ),
    (
        TOML_IN + "[[inbounds.users]]\nid = 'a'\n[[inbounds.users]]\nlevel = 1\n",
        "inbounds[0].users[1].id",
        "'id' is missing",
        6,
    ),
    (
        (
            "[[inbounds]]\nport = 1\nprotocol = 'socks'\nauth = 'noauth'\n"
            "accounts = [{user = 'a', password = 'b'}]\n[[outbounds]]\nprotocol = 'freedom'"
        ),
        "inbounds[0].auth",
        "accounts have no effect",
        4,
    ),
    (
        "[[outbounds]]\nprotocol = 'vmess'\n",
        "outbounds[0]",
        "add 'servers', or 'address', 'port' and 'id'",
        1,
    ),
    (
        "[[outbounds]]\nprotocol = 'vmess'\ntimestamp_jitter = 31\n",
        "outbounds[0].timestamp_jitter",
        "0 to 30",
        3,
    ),
    (
        "[[outbounds]]\nprotocol = 'vmess'\npacket_size = 0\n",
        "outbounds[0].packet_size",
        "1 to 65535",
        3,
    ),
    (
        "[[outbounds]]\nprotocol = 'vmess'\nspare_connections = 17\n",
        "outbounds[0].spare_connections",
        "0 to 16",
        3,
    ),
    *(
        (
            f"[[outbounds]]\nprotocol = 'vmess'\nspare_keep = {seconds}\n",
            "outbounds[0].spare_keep",
            f"expected more than 0 and at most 60 seconds, found {seconds}; to switch spare",
            3,
        )
        for seconds in (0, 60.5)
    ),
    *(
        (
            f"""[[outbounds]]
protocol = 'vmess'
spare_connections = 1
transport = {{ type = '{carrier}' }}
""",
            "outbounds[0].spare_connections",
            "all connections share one that is open already; set it to 0",
            3,
        )
        for carrier in ("h2", "grpc")
    ),
    ("[policy.levels.x]\nhandshake = 1", "policy.levels.x", "not a valid user level", 1),
    ("[routing]\nrules = 5", "routing.rules", "expected a list, found the number 5", 2),
]


@pytest.mark.parametrize(("text", "where", "message", "line"), PROBLEMS)
def test_a_problem_is_reported_with_its_location(text, where, message, line):
    check_problem(text, "toml", where, message, line)
