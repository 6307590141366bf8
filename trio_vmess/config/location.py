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
