"""Fuzz the conditions on names, regular expressions among them.

The first line of an input is a name, and each line behind it a condition.
"""

from typing import Final

from tests.routing.dat import BOTH, Files
from trio_vmess.routing.domain import DomainIndex, DomainMatcher, parse_domain_entry
from trio_vmess.routing.geo import GeoFiles, Site

_LINE_COUNT_MAX: Final = 64

_TEXTS: Final = (
    "www.example.com example keyword:mple domain:example.com full:www.example.com dotless:www",
    "www.example.com regexp:^w+\\.[a-z]+\\.com$ dotless: geosite:google ext:geosite.dat:cn@ads",
    "Localhost. dotless:local full:LOCALHOST domain:localhost. regexp:(?i)LOCAL",
    "a.cn ext-domain:geosite.dat:cn geosite:cn@ads@cn geosite:nowhere ext:missing.dat:x",
    "xn--bcher-kva.example domain:bücher.example full:BÜCHER.example",
    "abcdefgh abc bcd cde def efg fgh abcd bcde cdef defg efgh abcde bcdef cdefg",
    "aaaaaaaaaaaaaaaaaaaaaaaa! regexp:(a+)+$ regexp:\\d{1,1000} regexp:[ regexp:(?=a)",
    "a regexp:\\pL\\PN\\x{61}[[:alpha:]]\\Qa\\E(?:b|c)*?\\bx\\z\\C",
)
SEEDS: Final = tuple(text.replace(" ", "\n").encode() for text in _TEXTS)
TOKENS: Final = (
    *(b"\nkeyword:", b"\ndomain:", b"\nfull:", b"\nregexp:", b"\ndotless:", b"\ngeosite:"),
    *(b"(?:", b"(?P<n>", b"[^", b"{1,", b"[[:alpha:]]", b"\\p{Greek}", b"\\Q", b"(?i)", b"\\b"),
)


def check(data: bytes) -> None:
    """Raise where an invariant is broken.

    No exception but `ValueError` comes out of reading a condition, and none of matching; and the
    index over all of them says what each says by itself.
    """
    name, *entries = data.decode("utf-8", "replace").split("\n")[:_LINE_COUNT_MAX]
    geo = GeoFiles(Files(BOTH).load)
    marked: dict[int, list[Site]] = {}
    expected = 0
    for number, entry in enumerate(entries):
        try:
            sites = list(parse_domain_entry(entry, geo))
        except ValueError:
            continue
        marked[1 << number] = sites
        if DomainMatcher([entry], geo).matches(name):
            expected |= 1 << number
    found = DomainIndex(marked).find(name)
    if found != expected:
        raise TypeError(f"{found:b} instead of {expected:b}")
