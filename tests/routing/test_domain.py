import re
from collections.abc import Mapping, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.routing.dat import BOTH, Files
from trio_vmess.routing.domain import DomainIndex, DomainMatcher, parse_domain_entry
from trio_vmess.routing.geo import GeoFiles

GEO = GeoFiles(Files({**BOTH, "own.dat": BOTH["geosite.dat"]}).load)


@pytest.mark.parametrize(
    ("entry", "names", "others"),
    [
        ("ample", ["example.com", "ample", "EXAMPLE.com"], ["exam.ple", "a"]),
        ("keyword:Ample", ["example.com", "x.ample.y"], ["exam.ple"]),
        (
            "domain:Example.com",
            ["example.com", "www.example.com", "a.b.EXAMPLE.COM", "example.com."],
            ["example.org", "badexample.com", "com", "example.com.evil.net"],
        ),
        ("domain:com", ["com", "example.com"], ["example.org", "xcom"]),
        ("full:example.com", ["example.com", "Example.Com", "example.com."], ["www.example.com"]),
        (r"regexp:\.goo.*\.com$", ["www.google.com", "fonts.googleapis.com"], ["google.com"]),
        (r"regexp:^[a-z]+\d\.net$", ["ad1.net", "AD7.NET"], ["1.net", "ad1.net.org", "ad1xnet"]),
        ("regexp:^www", ["WWW.example.com"], ["ww.example.com"]),
        ("regexp:^WWW", [], ["www.example.com", "WWW.EXAMPLE.COM"]),
        ("regexp:^[^A-Z]+$", ["www.example.com", "WWW.EXAMPLE.COM"], []),
        (r"regexp:\Aa(?i:B)C?\.d{1,2}(?-i)e\z", ["ab.dde", "AB.DE"], ["ac.de", "ab.dex"]),
        (r"regexp:^\x{61}\.[[:^digit:]]+$", ["a.com"], ["a.c0m"]),
        (r"regexp:(?s)^.\b\.", ["a.com"], ["ab.com"]),
        (r"regexp:^(a|b)\.(x|y)$", ["a.x", "b.y"], ["c.x", "a.z"]),
        (r"regexp:^\pL+\.com$", ["google.com"], ["g00gle.com"]),
        (r"regexp:\Qa.b\E\.com$", ["a.b.com"], ["axb.com"]),
        (r"regexp:(?P<name>x|y)\.(?:com|org)$", ["x.com", "y.org"], ["z.com"]),
        (r"regexp:(?i)GOO", ["google.com"], ["go.com"]),
        (r"regexp:^[[:alpha:]]+\.com\z", ["google.com"], ["g00gle.com", "google.com.hk"]),
        ("dotless:", ["localhost", "printer"], ["a.b", "example.com"]),
        ("dotless:pri", ["printer", "PRINTER."], ["localhost", "printer.lan"]),
        ("geosite:google", ["google.com", "www.google.cn"], ["google.org"]),
        ("geosite:GOOGLE@ads", ["ad.doubleclick.net"], ["google.com", "google.cn"]),
        ("geosite:google@none", [], ["google.com", "google.cn", "doubleclick.net"]),
        (
            "geosite:category-ads-all",
            ["ad.doubleclick.net", "ads.example.com", "myADSERVer.org", "ad12.cdn.org"],
            ["example.com", "www.ads.example.com", "xad12.cdn.org"],
        ),
        ("ext:own.dat:private", ["nas.lan", "localhost"], ["example.com"]),
        ("ext-domain:own.dat:google@cn", ["google.cn"], ["google.com"]),
        ("domain:bücher.example", ["xn--bcher-kva.example", "www.xn--bcher-kva.example"], ["b.e"]),
        ("full:BÜCHER.example", ["xn--bcher-kva.example"], ["www.xn--bcher-kva.example"]),
    ],
)
def test_each_kind_of_entry(entry: str, names: list[str], others: list[str]) -> None:
    matcher = DomainMatcher([entry], GEO)
    assert [name for name in names if not matcher.matches(name)] == []
    assert [name for name in others if matcher.matches(name)] == []


def test_a_matcher_matches_if_any_entry_does() -> None:
    matcher = DomainMatcher(["full:a.b", "domain:c.d", "regexp:^e", "key"], GEO)
    for name in ("a.b", "x.c.d", "ef", "monkey.com"):
        assert matcher.matches(name), name
    assert not matcher.matches("x.a.b")


def test_a_matcher_without_entries_never_matches() -> None:
    assert not DomainMatcher([], GEO).matches("example.com")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", "the entry is empty"),
        ("keyword:", "'keyword:' must be followed by a value"),
        ("full:", "'full:' must be followed by a value"),
        ("regex:x", "unknown prefix 'regex:'"),
        ("regexp:(", "'(' is not a valid regular expression: "),
        (r"regexp:(ab)\1", r"not a valid regular expression: invalid escape sequence: \1"),
        ("regexp:(?<=a)b", "'(?<=a)b' is not a valid regular expression: "),
        ("dotless:a.b", "'dotless:a.b' can never match: dotless: is for names without a dot"),
        ("geosite:", "the name of a list is missing in 'geosite:'"),
        ("geosite:@ads", "the name of a list is missing in 'geosite:@ads'"),
        ("geosite:nix", "geosite.dat has no list 'nix'"),
        ("ext:own.dat", "'ext:own.dat' does not have the form ext:file:list"),
        ("ext-domain::cn", "'ext-domain::cn' does not have the form ext-domain:file:list"),
        ("ext:own.dat:cn:x", "'ext:own.dat:cn:x' does not have the form ext:file:list"),
        ("ext:lost.dat:cn", "lost.dat is nowhere; install it"),
    ],
)
def test_a_wrong_entry_is_refused(entry: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_domain_entry(entry, GEO)


def test_a_nested_repetition_takes_no_exponential_time() -> None:
    """A backtracking engine would take longer than anybody waits, for each of these names."""
    matcher = DomainMatcher([r"regexp:^(a+)+$", r"regexp:^(([a-z])+.)+[A-Z]([a-z])+$"], GEO)
    for length in (30, 60, 250):
        assert not matcher.matches("a" * length + "!")


def test_an_expression_that_is_not_wanted_is_not_tried() -> None:
    sites = {1: parse_domain_entry("regexp:^a", GEO), 2: parse_domain_entry("domain:a", GEO)}
    index = DomainIndex(sites)
    assert index.find("a") == 3
    assert index.find("a", 2) & 2
    assert index.find("a", 2) & 1 == 0


# Against a look at each entry ---------------------------------------------------------------------

LABELS = st.text("ab1-", min_size=1, max_size=4)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ENTRIES = st.one_of(
    st.text("ab.1-", min_size=1, max_size=5),
    st.text("ab.1-", min_size=1, max_size=5).map("keyword:{}".format),
    NAMES.map("domain:{}".format),
    NAMES.map("full:{}".format),
    st.sampled_from(["^a", "b$", "a.*b", r"^[a1]+\.", "a|b"]).map("regexp:{}".format),
    LABELS.map("dotless:{}".format),
    st.just("dotless:"),
)


def holds(entry: str, name: str) -> bool:
    kind, colon, value = entry.partition(":")
    match kind if colon else "keyword":
        case "keyword":
            return (value if colon else entry) in name
        case "full":
            return name == value
        case "domain":
            return name == value or name.endswith("." + value)
        case "regexp":
            return re.search(value, name) is not None
        case "dotless":
            return "." not in name and value in name
    raise AssertionError(entry)


@given(
    st.lists(st.lists(ENTRIES, max_size=8), max_size=5).map(
        lambda lists: {1 << index: entries for index, entries in enumerate(lists)}
    ),
    st.lists(NAMES, min_size=1, max_size=10),
)
def test_the_index_agrees_with_checking_each_entry(
    marked: Mapping[int, Sequence[str]], names: Sequence[str]
) -> None:
    index = DomainIndex(
        {
            mark: [site for entry in entries for site in parse_domain_entry(entry, GEO)]
            for mark, entries in marked.items()
        }
    )
    for name in names:
        expected = sum(
            mark for mark, entries in marked.items() if any(holds(each, name) for each in entries)
        )
        assert index.find(name) == expected
        assert index.find(name.upper() + ".") == expected


@given(st.lists(st.text("abc", min_size=1, max_size=7), max_size=60), st.text("abc", max_size=30))
def test_many_keywords_agree_with_checking_each(words: list[str], name: str) -> None:
    index = DomainIndex(
        {1 << place: parse_domain_entry(word, GEO) for place, word in enumerate(words)}
    )
    assert index.find(name) == sum(1 << place for place, word in enumerate(words) if word in name)
