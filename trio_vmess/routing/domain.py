r"""Conditions on names: the syntax of their entries, and an index over those of all rules.

    keyword:word, word      the word is anywhere in the name
    domain:example.com      the name, or a subdomain of it
    full:example.com        exactly this name
    regexp:^a.*z$           the expression matches somewhere in the name
    dotless:word            the name has no dot, and the word is in it (no word: any such name)
    geosite:list@attr       a list of `geosite.dat`; with attributes, only the names that have them
    ext:file:list@attr      a list of another file; `ext-domain:` means the same

Names are compared ignoring case, and `example.com.` is `example.com`. Expressions see names in
lower case, and are matched as they are written: `[A-Z]` matches nothing in a name.

The cost of a decision does not depend on the number of names. `full:` and `domain:` take one dict
lookup for each label of the name. Keywords are found by their first three letters: at each position
of the name, one lookup returns the lengths of the keywords that begin with these letters, and one
lookup for each length tells whether that is a keyword. Only expressions are tried one after the
other, and only those of rules that can still match.

Expressions are Go's, as V2Ray's are: see `trio_vmess.routing.expressions`. All of them are matched
at once, in a time that grows with the length of the name alone.

Source:
    v2ray-core, infra/conf/router.go, parseDomainRule; common/strmatcher.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from trio_vmess.routing.expressions import ExpressionSet, check_expression
from trio_vmess.routing.geo import GEOSITE_FILE, GeoFiles, Site, SiteKind

_KINDS: Final = {
    "keyword": SiteKind.KEYWORD,
    "domain": SiteKind.DOMAIN,
    "full": SiteKind.FULL,
    "regexp": SiteKind.REGEXP,
    "dotless": SiteKind.DOTLESS,
}
_EXTERNAL: Final = ("ext", "ext-domain")

_ANY_RULE: Final = -1
"""All bits: every rule can still match."""

_GRAM: Final = 3
"""The number of letters by which keywords are looked up."""
_FEW: Final = 12
"""Up to this number, trying each keyword is faster than looking up each position of the name."""


def fold_name(name: str) -> str:
    """Return the form in which names are compared."""
    return name.lower().removesuffix(".")


def parse_domain_entry(entry: str, geo: GeoFiles) -> Sequence[Site]:
    """Read one entry of a rule.

    Args:
        entry: as in the configuration.
        geo: provides the lists.

    Raises:
        ValueError: the entry is not valid, or its list does not exist; with a full message.
    """
    prefix, colon, value = entry.partition(":")
    if not colon:
        prefix, value = "keyword", entry
    if prefix == "geosite" or prefix in _EXTERNAL:
        return _parse_list(entry, prefix, value, geo)
    kind = _KINDS.get(prefix)
    if kind is None:
        raise ValueError(f"unknown prefix '{prefix}:'")
    if kind is SiteKind.DOTLESS:
        if "." in value:
            raise ValueError(f"'{entry}' can never match: dotless: is for names without a dot")
    elif not value:
        raise ValueError(
            f"'{prefix}:' must be followed by a value" if colon else "the entry is empty"
        )
    if kind is SiteKind.REGEXP:
        check_expression(value)
    return [Site(kind, value)]


def _parse_list(entry: str, prefix: str, value: str, geo: GeoFiles) -> Sequence[Site]:
    file, name = GEOSITE_FILE, value
    if prefix in _EXTERNAL:
        file, _, name = value.partition(":")
        if not file or not name or ":" in name:
            raise ValueError(f"'{entry}' does not have the form {prefix}:file:list")
    name, *attributes = (part.strip() for part in name.split("@"))
    if not name:
        raise ValueError(f"the name of a list is missing in '{entry}'")
    sites = geo.sites(file, name, [each for each in attributes if each])
    for site in sites:
        if site.kind is SiteKind.REGEXP:
            check_expression(site.value)
    return sites


class DomainIndex:
    """Conditions on names, with marks.

    Args:
        marked: the conditions of each mark; see `trio_vmess.routing.ranges` on marks.

    Raises:
        ValueError: an expression is not valid.
    """

    def __init__(self, marked: Mapping[int, Iterable[Site]]) -> None:
        self._full: dict[str, int] = {}
        self._domains: dict[str, int] = {}
        self._dotless: dict[str, int] = {}
        keywords: dict[str, int] = {}
        expressions: list[str] = []
        self._expression_marks: list[int] = []
        tables = {
            SiteKind.FULL: self._full,
            SiteKind.DOMAIN: self._domains,
            SiteKind.DOTLESS: self._dotless,
            SiteKind.KEYWORD: keywords,
        }
        for mark, sites in marked.items():
            for site in sites:
                if site.kind is SiteKind.REGEXP:
                    expressions.append(site.value)
                    self._expression_marks.append(mark)
                    continue
                value = site.value.lower()
                if site.kind is SiteKind.FULL or site.kind is SiteKind.DOMAIN:
                    value = _fold_domain(value)
                table = tables[site.kind]
                old = table.get(value)
                # All names of a rule share one int object, which saves memory.
                table[value] = mark if old is None else old | mark
        self._keywords = _KeywordIndex(keywords) if keywords else None
        self._expressions = ExpressionSet(expressions) if expressions else None

    def find(self, name: str, wanted: int = _ANY_RULE, /) -> int:
        """Return the marks of the conditions that hold for a name.

        Args:
            name: in any case.
            wanted: the marks that are of interest; others may be missing from the result.
        """
        name = fold_name(name)
        found = self._full.get(name, 0)
        domains = self._domains
        if domains:
            tail = name
            while True:
                if tail in domains:
                    found |= domains[tail]
                dot = tail.find(".")
                if dot < 0:
                    break
                tail = tail[dot + 1 :]
        if self._keywords is not None:
            found |= self._keywords.find(name)
        if self._dotless and "." not in name:
            for word, mark in self._dotless.items():
                if word in name:
                    found |= mark
        if self._expressions is not None and wanted & ~found:
            marks = self._expression_marks
            for position in self._expressions.find(name):
                found |= marks[position]
        return found


class DomainMatcher:
    """One set of conditions on names, which matches if any of them holds.

    Args:
        entries: as in the configuration.
        geo: provides the lists.

    Raises:
        ValueError: an entry is not valid, or its list does not exist.
    """

    def __init__(self, entries: Iterable[str], geo: GeoFiles) -> None:
        self._index = DomainIndex(
            {1: [site for entry in entries for site in parse_domain_entry(entry, geo)]}
        )

    def matches(self, name: str) -> bool:
        """Return whether a condition holds for a name, ignoring case."""
        return self._index.find(name) != 0


class _KeywordIndex:
    """Keywords, with marks."""

    def __init__(self, keywords: Mapping[str, int]) -> None:
        self._keywords = keywords
        is_few = len(keywords) <= _FEW
        self._tried = [
            (word, mark) for word, mark in keywords.items() if is_few or len(word) < _GRAM
        ]
        lengths: dict[str, set[int]] = {}
        if not is_few:
            for word in keywords:
                if len(word) >= _GRAM:
                    lengths.setdefault(word[:_GRAM], set()).add(len(word))
        shared: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._lengths: dict[str, tuple[int, ...]] = {}
        for gram, sizes in lengths.items():
            key = tuple(sorted(sizes))
            self._lengths[gram] = shared.setdefault(key, key)

    def find(self, name: str) -> int:
        """Return the marks of all keywords that are in a folded name."""
        found = 0
        for word, mark in self._tried:
            if word in name:
                found |= mark
        lengths, keywords = self._lengths, self._keywords
        if lengths:
            for start in range(len(name) - _GRAM + 1):
                gram = name[start : start + _GRAM]
                if gram in lengths:
                    for length in lengths[gram]:
                        found |= keywords.get(name[start : start + length], 0)
        return found


def _fold_domain(value: str) -> str:
    """Return a folded name in punycode, in which clients request it."""
    value = fold_name(value)
    if not value.isascii():
        try:
            return value.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return value
    return value
