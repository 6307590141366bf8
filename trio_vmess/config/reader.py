"""Reading objects of a configuration file, and collecting all problems of the whole file.

A `Section` is one object of the file. Readers ask it for keys by the model's field names; it finds
them under the names of the file's style, remembers their locations, and reports values that do not
fit. A missing or wrong value yields the default, so that the rest is still read; the result is used
only if the report is empty in the end. `Report.finish` also reports all keys that no reader asked
for.
"""

import enum
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import attrs

from trio_vmess.config.location import Location
from trio_vmess.config.tree import Member, Members, Value, describe, quote
from trio_vmess.config.values import fold, nearest
from trio_vmess.errors import ConfigError, ConfigProblem

__all__ = ["Entry", "Report", "Section", "Style"]

_T = TypeVar("_T")
_D = TypeVar("_D")


class Style(enum.Enum):
    """How a file spells its keys."""

    NATIVE = "TOML: snake_case, exactly"
    V2RAY = "JSON: camelCase, in any case"


@attrs.frozen
class Entry:
    """A value and its key path."""

    value: Value
    where: str

    @property
    def location(self) -> Location:
        """Where the value is."""
        return Location(self.where, self.value.line, self.value.column)


class Report:
    """The problems and warnings found in a file so far.

    Attributes:
        style: how the file spells its keys.
        environ: where `env:NAME` is looked up; None for the environment of the process.
    """

    def __init__(
        self, file: str, style: Style, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self.style = style
        self.environ = environ
        self._file = file
        # Dicts, because a value that two readers look at is reported once.
        self._problems: dict[ConfigProblem, None] = {}
        self._warnings: dict[ConfigProblem, None] = {}
        self._misspelt: set[str] = set()
        self._repeated: dict[tuple[str, str], list[Location]] = {}
        self._sections: list[Section] = []

    def problem(self, location: Location, message: str) -> None:
        """Add a problem: the file cannot be used."""
        self._problems[location.problem(message, file=self._file)] = None

    def warn(self, location: Location, message: str) -> None:
        """Add a warning: the file can be used."""
        self._warnings[location.problem(message, file=self._file)] = None

    def warn_once(self, key: str, location: Location, message: str) -> None:
        """Add a warning; those about the same key become one."""
        self._repeated.setdefault((key, message), []).append(location)

    def has_problem_within(self, where: str) -> bool:
        """Tell whether there is a problem with what is at a key path, or within it."""
        return where in self._misspelt or any(
            not found or found == where or found.startswith((f"{where}.", f"{where}["))
            for found in (problem.where for problem in self._problems)
        )

    def note_misspelt(self, where: str) -> None:
        """Note that what is missing at a key path is there, under another name."""
        self._misspelt.add(where)

    def open(self, raw: Value, where: str) -> "Section":
        """Start to read an object; anything else is reported, and read as an empty one."""
        location = Location(where, raw.line, raw.column)
        members = raw.content
        if not isinstance(members, Members):
            self.problem(location, f"expected {self.object_word}, found {describe(raw)}")
            members = Members(())
        section = Section(self, members, location)
        self._sections.append(section)
        return section

    def path(self, text: str) -> str:
        """Return a path that can be opened: relative ones begin at the file's folder."""
        return os.path.join(os.path.dirname(self._file), text)

    @property
    def object_word(self) -> str:
        """What the file's format calls an object."""
        return "a table" if self.style is Style.NATIVE else "an object { … }"

    def close_sections(self) -> None:
        """Report the keys that no reader asked for, and those that are missing."""
        for section in self._sections:
            section.report_keys()
        self._sections.clear()

    def finish(self) -> tuple[ConfigProblem, ...]:
        """Close all sections; return the warnings if nothing is wrong.

        Raises:
            ConfigError: everything that is wrong, in the order of the file.
        """
        self.close_sections()
        if self._problems:
            raise ConfigError(*sorted(self._problems, key=_order))
        for (_, message), locations in self._repeated.items():
            others = len(locations) - 1
            places = f" (and in {others} other place{'s' if others > 1 else ''})" if others else ""
            self.warn(locations[0], f"{message}{places}")
        return tuple(sorted(self._warnings, key=_order))


def _order(problem: ConfigProblem) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0


@functools.cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _is_off(value: Value) -> bool:
    content = value.content
    return not (content.items if isinstance(content, Members) else content)


class Section:
    """One object of the file, made by `Report.open`.

    Every method that looks for a key takes its name in the model, and in `json` its names in V2Ray
    files if they are not the camelCase of it; messages use the first of them.

    Attributes:
        report: where its problems are collected.
        location: where the object is.
    """

    def __init__(self, report: Report, members: Members, location: Location) -> None:
        self.report = report
        self.location = location
        self._members: dict[str, Member] = {}
        self._read: set[str] = set()
        self._requested: list[tuple[str, tuple[str, ...]]] = []
        self._not_offered: set[str] = set()
        self._missing: dict[str, tuple[Location, str]] = {}
        self._unread_is_fine = False
        self._locations: dict[str, Location] = {"": location}
        for member in members.items:
            self._add(member)

    def _add(self, member: Member) -> None:
        first = self._members.setdefault(self._folded(member.key), member)
        if first is not member:
            location = Location(self._path(member.key), member.line, member.column)
            line = "" if first.line is None else f" on line {first.line}"
            self.report.problem(location, f"duplicate key: already set as {quote(first.key)}{line}")

    def _folded(self, key: str) -> str:
        return key.lower() if self.report.style is Style.V2RAY else key

    def _path(self, key: str) -> str:
        return f"{self.location.where}.{key}" if self.location.where else key

    @property
    def native(self) -> bool:
        """Whether the file is in the native format."""
        return self.report.style is Style.NATIVE

    @property
    def is_empty(self) -> bool:
        """Whether the object has no keys."""
        return not self._members

    def locations(self) -> dict[str, Location]:
        """Return the locations of the keys found so far; the empty key has that of the object."""
        return dict(self._locations)

    def _names(self, name: str, json: tuple[str, ...]) -> tuple[str, ...]:
        if self.native:
            return (name,)
        return json or (_camel(name),)

    def missing_location(self, name: str, json: tuple[str, ...] = ()) -> Location:
        """Return a location for a key that is not there: its path, and the object's line."""
        key = self._names(name, json)[0]
        return attrs.evolve(self.location, where=self._path(key))

    def find(self, name: str, json: tuple[str, ...] = ()) -> Entry | None:
        """Return the value of a key; None if it is missing, or null in a V2Ray file."""
        self._requested.append((name, json))
        found = None
        for spelling in self._names(name, json):
            member = self._members.get(self._folded(spelling))
            if member is None:
                continue
            entry = Entry(member.value, self._path(member.key))
            self._read.add(self._folded(spelling))
            if not self.native and member.value.content is None:
                continue
            if found is not None:
                self.report.problem(
                    entry.location, f"same setting as {quote(found.where)}; keep only one of them"
                )
                continue
            found = entry
            self._locations[name] = entry.location
        return found

    def inherit(self, name: str, entry: Entry) -> None:
        """Use a value from elsewhere in the file, unless the object has the key."""
        key = self._names(name, ())[0]
        member = Member(key, entry.value, entry.value.line, entry.value.column)
        self._members.setdefault(self._folded(key), member)

    def get(
        self,
        name: str,
        read: Callable[[Value], _T],
        default: _D,
        *,
        json: tuple[str, ...] = (),
        required: str = "",
    ) -> _T | _D:
        """Return a key's value.

        Args:
            name: the key.
            read: returns the setting, or raises ValueError.
            default: what a missing or wrong value yields.
            json: its names in V2Ray files.
            required: if not empty, a missing key is a problem; says what the key is for.
        """
        entry = self.find(name, json)
        if entry is None:
            if required:
                key = self._names(name, json)[0]
                self.note_missing(name, f"{quote(key)} is missing: {required}", json)
            return default
        return self.convert(entry, read, default)

    def note_missing(self, name: str, message: str, json: tuple[str, ...] = ()) -> None:
        """Report that a key is missing, unless an unknown one turns out to be meant for it."""
        key = self._names(name, json)[0]
        self._missing[key] = self.missing_location(name, json), message

    def convert(self, entry: Entry, read: Callable[[Value], _T], default: _D) -> _T | _D:
        """Return what an entry holds; if it does not fit, report it and return the default."""
        try:
            return read(entry.value)
        except ValueError as exc:
            self.report.problem(entry.location, str(exc))
            return default

    def many(
        self, name: str, read: Callable[[Value], _T], *, json: tuple[str, ...] = ()
    ) -> tuple[_T, ...]:
        """Return the valid values of a list; a single value is a list of one.

        In a V2Ray file, a string may hold several values separated by commas.
        """
        entry = self.find(name, json)
        if entry is None:
            return ()
        values: list[_T] = []
        for item in self._items(entry):
            try:
                values.append(read(item.value))
            except ValueError as exc:
                self.report.problem(item.location, str(exc))
        return tuple(values)

    def _items(self, entry: Entry) -> Iterator[Entry]:
        value = entry.value.content
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                yield Entry(item, f"{entry.where}[{index}]")
        elif isinstance(value, str) and not self.native:
            for part in value.split(","):
                if part.strip():
                    yield Entry(attrs.evolve(entry.value, content=part.strip()), entry.where)
        else:
            yield entry

    def section(self, name: str, json: tuple[str, ...] = ()) -> "Section | None":
        """Return the object under a key."""
        entry = self.find(name, json)
        return None if entry is None else self.report.open(entry.value, entry.where)

    def section_or_empty(self, name: str, json: tuple[str, ...] = ()) -> "Section":
        """Return the object under a key, or one without keys."""
        found = self.section(name, json)
        if found is not None:
            return found
        location = self.missing_location(name, json)
        return self.report.open(Value(Members(()), location.line, location.column), location.where)

    def entries(self, name: str, json: tuple[str, ...] = ()) -> list[Entry]:
        """Return the members of a list of objects; anything but a list is reported."""
        entry = self.find(name, json)
        if entry is None:
            return []
        if not isinstance(entry.value.content, tuple):
            hint = ""
            if self.native and isinstance(entry.value.content, Members):
                key = entry.where.rpartition(".")[2]
                hint = f"; write [[{key}]] with double brackets, once for each entry"
            found = describe(entry.value)
            self.report.problem(entry.location, f"expected a list, found {found}{hint}")
            return []
        return list(self._items(entry))

    def sections(self, name: str, json: tuple[str, ...] = ()) -> list["Section"]:
        """Return the objects of the list under a key."""
        return [self.report.open(item.value, item.where) for item in self.entries(name, json)]

    def members(self) -> list[tuple[str, Entry]]:
        """Return all keys with their values, for objects whose keys the user chooses."""
        self._unread_is_fine = True
        members = self._members.values()
        return [(each.key, Entry(each.value, self._path(each.key))) for each in members]

    def ignore(self, name: str, why: str, json: tuple[str, ...] = ()) -> None:
        """Warn about a key that has no effect here."""
        entry = self.find(name, json)
        self._not_offered.add(self._names(name, json)[0])
        if entry is not None:
            self.report.warn_once(name, entry.location, f"ignored: {why}")

    def refuse(self, name: str, why: str, json: tuple[str, ...] = ()) -> None:
        """Report a key that is not supported and cannot be ignored."""
        entry = self.find(name, json)
        self._not_offered.add(self._names(name, json)[0])
        if entry is not None:
            self.report.problem(entry.location, why)

    def refuse_if_set(self, name: str, why: str, json: tuple[str, ...] = ()) -> None:
        """Report a key that is not supported, unless its value leaves it off."""
        entry = self.find(name, json)
        self._not_offered.add(self._names(name, json)[0])
        if entry is not None and not _is_off(entry.value):
            self.report.problem(entry.location, why)

    def ignore_if_set(self, name: str, why: str, json: tuple[str, ...] = ()) -> None:
        """Warn about a key that has no effect here, unless its value leaves it off."""
        entry = self.find(name, json)
        self._not_offered.add(self._names(name, json)[0])
        if entry is not None and not _is_off(entry.value):
            self.report.warn_once(name, entry.location, f"ignored: {why}")

    def leave_unread(self) -> None:
        """Do not report keys that no reader asked for: which are valid depends on a wrong value."""
        self._unread_is_fine = True

    def report_keys(self) -> None:
        """Report the keys that no reader asked for, and those that readers have missed.

        A key that is missing because it is misspelt is one mistake, and is reported once.
        """
        for folded, member in self._members.items():
            if folded in self._read or (not self.native and member.value.content is None):
                continue
            location = Location(self._path(member.key), member.line, member.column)
            if self._unread_is_fine:
                meant = nearest(member.key, self._missing)
                if meant is not None:
                    self._missing.pop(meant)
                    self.report.problem(location, f"unknown key; did you mean '{meant}'?")
            elif not self.native and member.key.startswith("_"):
                message = "ignored: keys that begin with _ are comments"
                self.report.warn_once("_", location, message)
            else:
                meant, message = self._unknown(member.key)
                self._missing.pop(meant, None)
                self.report.note_misspelt(self._path(meant))
                self.report.problem(location, message)
        for missing in self._missing.values():
            self.report.problem(*missing)

    def _known(self) -> dict[str, str]:
        """Return the keys that readers asked for, by the folded form of all their spellings."""
        known: dict[str, str] = {}
        for name, json in self._requested:
            names = self._names(name, json)
            for spelling in (name, _camel(name), *json):
                known.setdefault(fold(spelling), names[0])
            known.update((fold(spelling), spelling) for spelling in names)
        return known

    def _unknown(self, key: str) -> tuple[str, str]:
        """Return the key that may have been meant, or nothing, and a message."""
        known = self._known()
        exact = known.get(fold(key))
        if exact is not None:
            why = "TOML keys are snake_case; " if self.native and fold(exact) == fold(key) else ""
            return exact, f"unknown key; {why}write '{exact}' instead"
        near = nearest(key, known)
        if near is not None:
            meant = known[fold(near)]
            return meant, f"unknown key; did you mean '{meant}'?"
        offered = ", ".join(sorted(set(known.values()) - self._not_offered))
        valid = f"valid keys here: {offered}" if offered else "none is valid here"
        return "", f"unknown key; {valid}"
