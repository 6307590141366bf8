"""What an examination has found: its steps, what may be the cause, and what to do."""

import enum
from collections.abc import Mapping, Sequence

import attrs


class State(enum.Enum):
    """How a step has ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNUSED = "unused"
    """There is nothing to examine: no TLS is configured, for example."""


class StepName(enum.Enum):
    """The steps, in their order."""

    CONFIG = "config"
    NAME = "name"
    TCP = "tcp"
    TLS = "tls"
    TRANSPORT = "transport"
    CLOCK = "clock"
    AUTHENTICATION = "authentication"
    REQUEST = "request"
    UDP = "udp"
    MUX = "mux"
    LATENCY = "latency"
    THROUGHPUT = "throughput"


@attrs.frozen
class Step:
    """One step.

    Attributes:
        name: which one.
        state: how it has ended.
        detail: one line for people.
    """

    name: StepName
    state: State
    detail: str = ""


@attrs.frozen
class Cause:
    """Something that explains what was seen.

    Attributes:
        what: a clause.
        remedy: what to do about it.
    """

    what: str
    remedy: str


@attrs.define(eq=False)
class Report:
    """The result of an examination.

    Attributes:
        server: `host:port`, or the path of a socket; empty if the configuration does not say.
        causes: what may be wrong, the most likely first; empty if all is well.
        seconds: measured times: `tcp`, `tls`, `transport`, `first_byte`.
    """

    server: str = ""
    causes: Sequence[Cause] = ()
    seconds: Mapping[str, float] = attrs.field(factory=dict[str, float])
    _steps: dict[StepName, Step] = attrs.field(factory=dict[StepName, Step], init=False)

    def note(self, name: StepName, state: State, detail: str = "") -> None:
        """Say how a step has ended."""
        self._steps[name] = Step(name, state, detail)

    def fail(self, name: StepName, detail: str, causes: Sequence[Cause]) -> bool:
        """Say that a step has failed, and what may be the cause.

        Returns:
            False, for those who return whether the next step makes sense.
        """
        self.note(name, State.FAILED, detail)
        self.causes = [*self.causes, *causes]
        return False

    def state_of(self, name: StepName) -> State:
        """Return how a step has ended; a step that nobody has noted is skipped."""
        return self._steps[name].state if name in self._steps else State.SKIPPED

    @property
    def steps(self) -> Sequence[Step]:
        """All steps in their order."""
        return [self._steps.get(name) or Step(name, State.SKIPPED) for name in StepName]

    @property
    def is_ok(self) -> bool:
        """Whether no step has failed."""
        return all(each.state is not State.FAILED for each in self.steps)

    @property
    def remedy(self) -> str:
        """The one thing to do; empty if there is nothing."""
        return self.causes[0].remedy if self.causes else ""

    def to_json(self) -> Mapping[str, object]:
        """Return the report as JSON has it."""
        return {
            "ok": self.is_ok,
            "server": self.server,
            "steps": [
                {"step": each.name.value, "state": each.state.value, "detail": each.detail}
                for each in self.steps
            ],
            "causes": [{"cause": each.what, "remedy": each.remedy} for each in self.causes],
            "fix": self.remedy or None,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
        }
