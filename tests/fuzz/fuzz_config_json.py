"""Fuzz the reader of V2Ray's JSON."""

import json
import re
from typing import Final, NoReturn

from tests.config.test_documents import GUIDE_CLIENT, GUIDE_SERVER, MANUAL_INBOUND
from tests.config.test_toml import JSON
from tests.fuzz.configurations import check_config
from trio_vmess.config.jsonc import parse_jsonc
from trio_vmess.config.tree import Members, Value
from trio_vmess.errors import ConfigError

_OLD_FORM: Final = """
{"port": 1080, "inbound": {"protocol": "socks", "domainOverride": ["http"]},
 "inboundDetour": [{"protocol": "http", "port": "env:PORT"}],
 "outbound": {"protocol": "freedom"},
 "routing": {"settings": {"rules": [{"type": "field", "ip": ["10.0.0.0/8"]}]}}}
"""
_UNSUPPORTED: Final = """
{"outbounds": [{"protocol": "vmess", "mux": {"enabled": false}, "streamSettings": {
    "network": "ws", "security": "tls", "tcpSettings": {"header": {"type": "http"}},
    "sockopt": {"mark": 1}}}],
 "api": {"tag": "api", "services": ["StatsService"]}, "reverse": {}, "transport": {}}
"""

SEEDS: Final = (
    *(text.encode() for text in (JSON, GUIDE_CLIENT, GUIDE_SERVER, MANUAL_INBOUND)),
    *(json.dumps({key: value}).encode() for key, value in json.loads(JSON).items()),
    _OLD_FORM.encode(),
    _UNSUPPORTED.encode(),
    b'# comment\n// another\n/* and */ {"a\\u0041\\n": [1, -0.5e+3, true, null,], }',
    b'\xef\xbb\xbf{"outbounds": [{"protocol": "freedom"}]}',
    '{"x": “quotes”}'.encode(),
)
_WORDS: Final = {word for seed in SEEDS for word in re.findall(rb'"\w+"', seed)}
TOKENS: Final = (
    *sorted(_WORDS),
    *(b"null", b"true", b"\\u", b"/*", b"1e999", b"[" * 65),
    *(b"env:PORT", b"regexp:", b"geosite:cn"),
)

_OUR_LIMITS: Final = re.compile(
    r"nested more than|half of a \\u surrogate pair|has more than \d+ characters"
)


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    A text is a configuration, or something is wrong at a place that it has; and what the standard
    library reads, we read alike.
    """
    text = data.decode("utf-8", "replace")
    check_config(text, "json")
    try:
        expected: object = json.loads(text, object_pairs_hook=tuple, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return
    try:
        read = plain(parse_jsonc(text))
    except ConfigError as exc:
        if _OUR_LIMITS.search(str(exc)) is None:
            raise
        return
    # Their texts differ where 1 and 1.0 or true do.
    if repr(read) != repr(_with_lists_as_tuples(expected)):
        raise ValueError(f"{read} instead of {expected}")


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is an extension of Python's")


def plain(value: Value) -> object:
    """Return a value without its locations; objects as pairs."""
    match value.content:
        case Members(items=items):
            return tuple((member.key, plain(member.value)) for member in items)
        case tuple() as items:
            return tuple(map(plain, items))
        case _:
            return value.content


def _with_lists_as_tuples(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(map(_with_lists_as_tuples, value))
    return value
