"""What runs ask of people: shown to those who may decide, decided once, and told to the run that waits."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import jsonschema_rs
import msgspec

from polyforge.database.database import Database
from polyforge.flows.document import Json
from polyforge.flows.running.assignees import ADMIN, Assignees, decides_everything
from polyforge.flows.running.executor import TOPIC
from polyforge.flows.running.links import ApprovalLinks
from polyforge.flows.running.pages import scope_of
from polyforge.flows.running.records import APPROVAL_PREFIX, Approval, ApprovalState
from polyforge.flows.running.sealing import Seals
from polyforge.flows.running.store import RunEditor, RunStore
from polyforge.jobs.notes import storable
from polyforge.jobs.service import JobService
from polyforge.kernel.clock import Clock
from polyforge.kernel.errors import Conflict, Denied, Invalid, NotFound
from polyforge.tenancy.audit.log import Subject
from polyforge.tenancy.audit.recorder import Recorder
from polyforge.tenancy.callers import Caller
from polyforge.tenancy.people.paging import is_id
from polyforge.tenancy.policy import authorize
from polyforge.tenancy.standing import Standing

DECIDE: Final = "approvals:decide"
MAX_ANSWER_BYTES: Final = 32 * 1024
MAX_LINK_SECONDS: Final = 30 * 86_400.0
_PAGE: Final = 200
_MOST_PAGES: Final = 20
Verdict = Literal["approve", "reject"]
Via = Literal["api", "link"]
_STATES: Final[Mapping[Verdict, ApprovalState]] = {"approve": "approved", "reject": "rejected"}


class Answer(msgspec.Struct, frozen=True):
    """What somebody says."""

    verdict: Verdict
    values: dict[str, Json] = {}
    """What the form asks for."""
    reason: str = ""


class ApprovalService:
    """What callers do with the approvals of their project."""

    def __init__(
        self,
        database: Database,
        jobs: JobService,
        assignees: Assignees,
        links: ApprovalLinks,
        standing: Standing,
        clock: Clock,
        recorder: Recorder,
        seals: Seals,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._assignees = assignees
        self._links = links
        self._standing = standing
        self._clock = clock
        self._recorder = recorder
        self._seals = seals

    async def page(
        self,
        caller: Caller,
        limit: int,
        cursor: str | None,
        *,
        states: tuple[ApprovalState, ...] = (),
        run_id: str | None = None,
        mine: bool = False,
    ) -> tuple[list[Approval], str | None]:
        """Up to `limit` approvals, newest first; with `mine` those that the caller may decide."""
        if cursor is not None and not is_approval_id(cursor):
            raise Invalid("the cursor is not one that a list gave", param="cursor")
        names = await self._assignees.known_as(caller) if mine and not decides_everything(caller) else None
        scope, found, before = scope_of(caller), list[Approval](), cursor
        for _ in range(_MOST_PAGES):
            async with self._database.read(scope) as session:
                rows = await RunStore(session, scope, self._seals).approvals(_PAGE, before, states, run_id)
            found += [row for row in rows if names is None or names.intersection(row.assignees)]
            if len(rows) < _PAGE or len(found) > limit:
                before = None
                break
            before = rows[-1].id
        # After so many pages the caller says whether to look further, from where this look ended.
        return found[:limit], found[limit - 1].id if len(found) > limit else before

    async def get(self, caller: Caller, approval_id: str) -> Approval:
        """One of them; NotFound for one that the caller's project does not have."""
        scope, found = scope_of(caller), None
        if is_approval_id(approval_id):
            async with self._database.read(scope) as session:
                found = await RunStore(session, scope, self._seals).approval(approval_id)
        if found is None:
            raise NotFound(f"there is no approval {approval_id[:40]!r}")
        return found

    async def decide(self, caller: Caller, approval_id: str, answer: Answer, *, via: Via = "api") -> Approval:
        """Approve or reject. Denied for who was not asked, Conflict once it is settled, Invalid for a wrong form."""
        approval = await self._decidable(caller, approval_id)
        _check_answer(approval, answer)
        scope, now = scope_of(caller), self._clock.now()
        state = _STATES[answer.verdict]
        values: dict[str, Any] = {
            "answers": answer.values if state == "approved" else None,
            "reason": storable(answer.reason) or None,
            "decided_by_id": caller.key_id,
            "decided_by_name": caller.key_name,
            "decided_via": via,
            "decided_at": now,
        }
        async with self._database.write(scope) as session:
            editor = RunEditor(session, scope, self._seals)
            if not await editor.decide(approval_id, state, **values):
                raise Conflict("it is settled already; look at it again")
            run = await editor.find(approval.run_id)
            assert run is not None, "a run stays for as long as its approvals"
            # Each approval is decided once, so there are no more messages than the run asked for.
            topic, message = f"{TOPIC}{approval_id}", {"state": state}
            await self._jobs.tell_within(session, caller, run.job_id, topic, message, bounded=False)
            subject = Subject("approval", approval_id, caller.organization_id, caller.project_id)
            told = {"run": run.id, "node": approval.node, "via": via}
            await self._recorder.noted(session, caller, f"approval.{state}", subject, told)
        return await self.get(caller, approval_id)

    async def link(self, caller: Caller, approval_id: str, seconds: float) -> tuple[str, float]:
        """A token with which anybody may decide in the caller's name, once, and until when; Denied as for `decide`."""
        approval = await self._decidable(caller, approval_id)
        until = min(approval.expires_at, self._clock.now() + min(seconds, MAX_LINK_SECONDS))
        return self._links.make(caller, approval_id, frozenset({DECIDE, ADMIN}), until), until

    async def shown_by_link(self, token: str, approval_id: str) -> Approval:
        """What a link is for; WrongCredentials for a wrong one, Conflict once there is nothing to decide any more."""
        claims = self._links.read(token, approval_id)
        return await self._decidable(await self._standing.confirmed(claims.caller), approval_id)

    async def decide_by_link(self, token: str, approval_id: str, answer: Answer) -> Approval:
        """Decide in the name of who made a link, as they stand now; WrongCredentials for a wrong one."""
        claims = self._links.read(token, approval_id)
        caller = await self._standing.confirmed(claims.caller)
        return await self.decide(caller, approval_id, answer, via="link")

    async def _decidable(self, caller: Caller, approval_id: str) -> Approval:
        authorize(caller, DECIDE)
        approval = await self.get(caller, approval_id)
        if not decides_everything(caller):
            names = await self._assignees.known_as(caller)
            if not names.intersection(approval.assignees):
                raise Denied(f"this is for {', '.join(approval.assignees[:5])} to decide")
        if approval.state != "pending":
            raise Conflict(f"it is {approval.state} already")
        if approval.expires_at <= self._clock.now():
            raise Conflict("its time is over; run the flow again")
        return approval


def is_approval_id(text: str) -> bool:
    """Whether a text can be the id of an approval."""
    return text.startswith(APPROVAL_PREFIX) and is_id(text[len(APPROVAL_PREFIX) :])


def _check_answer(approval: Approval, answer: Answer) -> None:
    if answer.verdict == "reject":
        if not answer.reason.strip():
            raise Invalid("say why it is rejected", param="reason")
        return
    if len(msgspec.json.encode(answer.values)) > MAX_ANSWER_BYTES:
        raise Invalid(f"the form may hold {MAX_ANSWER_BYTES} bytes at most", param="values")
    if approval.form is None:
        if answer.values:
            raise Invalid("there is nothing to fill in; leave `values` out", param="values")
        return
    rule: Any = jsonschema_rs.validator_for(
        approval.form, offline=True, mask="it", pattern_options=jsonschema_rs.RegexOptions()
    )
    error: Any = next(iter(rule.iter_errors(answer.values)), None)
    if error is not None:
        place = ".".join(["values", *map(str, error.instance_path)])
        raise Invalid(f"{place}: {error.message}", param=place)
