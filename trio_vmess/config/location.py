"""Where in a configuration file a setting was."""

from collections.abc import Mapping

import attrs

from trio_vmess.errors import ConfigProblem


@attrs.frozen
class Location:
    """Where something is in a configuration file.

    Attributes:
        where: the key path, as in `inbounds[0].settings.clients[2].id`.
        line: counted from 1; None if unknown.
        column: counted from 1; None if unknown.
    """

    where: str
    line: int | None = None
    column: int | None = None

    def problem(self, message: str, *, file: str) -> ConfigProblem:
        """Return a problem at this location."""
        return ConfigProblem(
            where=self.where, message=message, file=file, line=self.line, column=self.column
        )


Locations = Mapping[str, Location]

Finding = tuple[Location, str]
"""What a check has to say, and about which setting."""


def locate(locations: Locations, key: str, fallback: str) -> Location:
    """Return the location of a key in the file, or for settings built in Python a key path."""
    if key in locations:
        return locations[key]
    if "" in locations:
        around = locations[""]
        return attrs.evolve(around, where=f"{around.where}.{key}")
    return Location(f"{fallback}.{key}" if key else fallback)
