"""Whether a server accepts us: by its answer, or by what it says to others."""

from typing import Final

import attrs
import trio

from trio_vmess.diagnosis.doctor import causes
from trio_vmess.diagnosis.doctor.greetings import UNKNOWN, Greeting, date_of
from trio_vmess.diagnosis.doctor.report import Report, State, StepName
from trio_vmess.diagnosis.doctor.subject import Subject
from trio_vmess.diagnosis.doctor.trials import Trial, try_session

_SAME: Final = 3
"""Seconds that may pass while an answer is under way."""


@attrs.define(eq=False)
class _Findings:
    """What a port has said to others than our request.

    Attributes:
        accepted: the alterIds with which the server answers.
        http: to an HTTP request.
        tls: to a TLS handshake.
    """

    accepted: set[int] = attrs.field(factory=set[int])
    http: Greeting = UNKNOWN
    tls: Greeting = UNKNOWN


@attrs.define(eq=False)
class Admission:
    """The steps at a server: the clock, and authentication.

    Attributes:
        subject: whom they are about.
        report: where their results go.
        heads: what servers have sent first, and the UTC seconds when that came.
    """

    subject: Subject
    report: Report
    heads: list[tuple[bytes, int]] = attrs.field(factory=list[tuple[bytes, int]])

    async def authenticate(self, trial: Trial) -> bool:
        """Say whether the server accepts the user; ask it more if it does not answer."""
        shown = self.subject.describe_header()
        if trial.is_authenticated:
            if trial.answer:
                self.heads.append((trial.answer, self.subject.means.clock()))
            self.compare_clocks(is_accepted=True)
            self.report.note(StepName.AUTHENTICATION, State.OK, f"accepted, with {shown}")
            return True
        alter_id = self.subject.server.users[0].alter_id
        found = _Findings()
        async with trio.open_nursery() as nursery:
            for each in {alter_id, *((0, 1) if alter_id else (1,))}:
                nursery.start_soon(self._try_alter_id, each, found, name="alterId")
            nursery.start_soon(self._greet, found, name="greeting")
        self.heads += [(found.http.head, found.http.head_at or 0)]
        is_accepted = alter_id in found.accepted
        offset = self.compare_clocks(is_accepted=is_accepted)
        if is_accepted:
            self.report.note(
                StepName.AUTHENTICATION,
                State.OK,
                f"accepted, with {shown}: a session of mux was answered",
            )
            return True
        ending = self.subject.ending(trial.observation.taps[-1])
        seen = causes.Refused(
            ending=ending,
            alter_id=alter_id,
            accepted_alter_id=min(found.accepted, default=None),
            clock_offset=offset,
            uses_tls=self.subject.stream.tls is not None,
            has_carrier=bool(self.subject.carrier_name),
            http=found.http,
            tls=found.tls,
        )
        detail = f"{ending}, to {shown}"
        return self.report.fail(StepName.AUTHENTICATION, detail, causes.causes_of_refusal(seen))

    async def _try_alter_id(self, alter_id: int, found: "_Findings") -> None:
        settings = self.subject.with_alter_id(alter_id)
        if (await try_session(self.subject.means, settings)).is_authenticated:
            found.accepted.add(alter_id)

    async def _greet(self, found: "_Findings") -> None:
        found.http = await self.subject.greet_http()
        if not found.http.head:
            found.tls = await self.subject.greet_tls()

    def compare_clocks(self, *, is_accepted: bool) -> int | None:
        """Note by how many seconds our clock is ahead of the first Date that was seen."""
        dates = ((date_of(head), at) for head, at in self.heads)
        offset = next((at - date for date, at in dates if date is not None), None)
        if offset is None:
            self.report.note(StepName.CLOCK, State.SKIPPED, "no HTTP Date was seen to compare with")
            return None
        shown = "agrees with"
        if abs(offset) > _SAME:
            shown = f"is {abs(offset)} s {'ahead of' if offset > 0 else 'behind'}"
        shown += " the HTTP Date that was seen"
        state = State.OK if abs(offset) <= causes.CLOCK_DOUBT else State.WARNING
        if abs(offset) > causes.CLOCK_LIMIT and not is_accepted:
            state = State.FAILED
        self.report.note(StepName.CLOCK, state, shown)
        return offset

    def see(self, trial: Trial) -> None:
        """Remember what came on a connection, for the comparison of clocks."""
        self.heads += [(bytes(tap.head), tap.head_at or 0) for tap in trial.observation.taps]
