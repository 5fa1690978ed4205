"""Tell convenors in advance: what a policy is about to send, and that a meeting has no link to its room."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from scheduler.domain.advance_notice import AdvanceNotice, Preflight, RoomMissing, as_details
from scheduler.domain.audience import Audience
from scheduler.domain.localtime import format_timing
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import EVERY_ZONE, FOLLOW_UP_REACH, IN_ADVANCE, PLANNED, Kind, Policy
from scheduler.service.forecast import forecast
from scheduler.service.notices import publish_notice
from scheduler.service.withdrawals import want_again, withdraw
from scheduler.store import notices, occurrences
from scheduler.store.database import Database
from scheduler.store.notices import Due, Notice

log = structlog.get_logger()

SHORTEST = timedelta(minutes=10)
"""About a notice whose first mail leaves sooner than this convenors are not told: it would be too late to hold it."""
LONGEST_PREFLIGHT = timedelta(days=2)
"""How long before a notice convenors can be told about it at most; earlier it may not be planned yet."""
ROOM_HOURS = (24, 2)
"""How many hours before a meeting without a room convenors are told."""

_CONVENORS = Audience(terms={"convenors": ()})
_COUNT_AGAIN = timedelta(hours=1)
_UNTRUE: Final = "no longer true"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mail:
    """A mail that convenors should get from `due` until `expires` (UTC), about a meeting or about a notice of it."""

    identity: str
    due: datetime
    expires: datetime
    occurrence: Occurrence
    notice: Notice | None = None
    last: datetime | None = None
    hours: int = 0

    @property
    def kind(self) -> Kind:
        return Kind.PREFLIGHT if self.notice else Kind.ROOM_MISSING


class AdvanceNotices:
    """Plans the mails that tell convenors something in advance; each goes once, when it is due or known to be."""

    def __init__(
        self,
        database: Database,
        *,
        series: Sequence[Series],
        policies: Sequence[Policy],
        preflight: timedelta | None,
    ) -> None:
        """`preflight` is how long before the first mail of a policy's notice convenors are told about it; None means
        never."""
        self._database = database
        self._series = {each.slug: each for each in series}
        self._policies = {policy.slug: policy for policy in policies}
        self._preflight = preflight
        self._found_nobody: dict[str, datetime] = {}

    async def plan(self, now: datetime) -> datetime | None:
        """Withdraw what is no longer true, publish what is due, and return when the next mail is due.

        No notice to members waits for it.
        """
        async with self._database.read() as connection:
            open_notices = await notices.open_notices(connection)
            dues = await notices.dues_of_open(connection)
            coming = {
                occurrence.key: occurrence
                for occurrence in await occurrences.all_occurrences(connection, since=now - FOLLOW_UP_REACH)
                if occurrence.series in self._series and occurrence.is_held
            }
            mails = [*self._preflights(open_notices, dues, coming), *self._roomless(coming, now)]
            wanted = {mail.identity: mail for mail in mails if mail.expires > now}
            known = {
                mail.identity: await notices.by_identity(connection, mail.identity)
                for mail in wanted.values()
                if mail.due <= now
            }
        for notice in open_notices:
            is_past = notice.expires <= now or notice.unwanted
            if notice.kind in IN_ADVANCE and not is_past and notice.identity not in wanted:
                async with self._database.write() as connection:
                    await withdraw(connection, notice, reason=_UNTRUE)
        for identity, existing in known.items():
            if existing is None or not existing.ready:
                await self._publish(wanted[identity], now)
            elif existing.unwanted:
                async with self._database.write() as connection:
                    await want_again(connection, existing, by_choice=())
        return min((mail.due for mail in wanted.values() if mail.due > now), default=None)

    def _preflights(
        self,
        open_notices: Sequence[Notice],
        dues: Mapping[int, Mapping[str, Due]],
        coming: Mapping[str, Occurrence],
    ) -> Iterator[_Mail]:
        if self._preflight is None:
            return
        for notice in open_notices:
            occurrence = coming.get(notice.occurrence or "")
            instants = [due.due for due in dues.get(notice.id, {}).values()]
            # Somebody has pressed a button for a frozen one.
            is_planned = notice.kind in PLANNED and not notice.frozen and notice.policy in self._policies
            is_over = notice.stopped_at or notice.unwanted
            if is_planned and not is_over and instants and occurrence and occurrence.starts == notice.starts:
                yield _Mail(
                    identity=f"{Kind.PREFLIGHT}:{notice.kind}:{occurrence.key}:{notice.policy}:{_stamp(occurrence)}",
                    due=min(instants) - self._preflight,
                    expires=min(instants),
                    last=max(instants),
                    occurrence=occurrence,
                    notice=notice,
                )

    def _roomless(self, coming: Mapping[str, Occurrence], now: datetime) -> Iterator[_Mail]:
        for occurrence in coming.values():
            if occurrence.link or self._series[occurrence.series].link or occurrence.starts <= now:
                continue
            instants = [occurrence.starts - timedelta(hours=hours) for hours in ROOM_HOURS]
            for hours, due, expires in zip(
                ROOM_HOURS, instants, (*instants[1:], occurrence.starts), strict=True
            ):
                yield _Mail(
                    identity=f"{Kind.ROOM_MISSING}:{occurrence.key}:{_stamp(occurrence)}:{hours}",
                    due=due,
                    expires=expires,
                    occurrence=occurrence,
                    hours=hours,
                )

    async def _publish(self, mail: _Mail, now: datetime) -> None:
        about = await self._describe(mail, now)
        if about is None:
            return
        published = await publish_notice(
            self._database,
            audience=_CONVENORS,
            audience_text="convenors",
            dues={EVERY_ZONE: now},
            now=now,
            identity=mail.identity,
            kind=mail.kind,
            details=as_details(about),
            expires=mail.expires,
        )
        log.info("convenors-told", notice=published.notice, kind=mail.kind, occurrence=mail.occurrence.key)

    async def _describe(self, mail: _Mail, now: datetime) -> AdvanceNotice | None:
        """Return what a mail is to say; None if it comes too late, or if nobody is to get the notice it is about."""
        notice, occurrence = mail.notice, mail.occurrence
        if notice is None:
            return RoomMissing(occurrence=occurrence.key, revision=occurrence.revision, hours=mail.hours)
        assert notice.policy and mail.last
        counted = self._found_nobody.get(mail.identity)
        if mail.expires - now < SHORTEST or (counted and now - counted < _COUNT_AGAIN):
            return None
        rows = await forecast(
            self._database,
            series=list(self._series.values()),
            policies=list(self._policies.values()),
            since=now,
            until=mail.last,
            now=now,
        )
        recipients = sum(row.recipients for row in rows if row.notice == notice.identity)
        if not recipients:
            self._found_nobody[mail.identity] = now
            return None
        self._found_nobody.pop(mail.identity, None)
        return Preflight(
            notice=notice.id,
            kind=notice.kind,
            policy=notice.policy,
            timing=format_timing(self._policies[notice.policy], "h23"),
            occurrence=occurrence.key,
            revision=occurrence.revision,
            recipients=recipients,
            first=mail.expires,
            last=mail.last,
            on_hold=notice.held_at is not None,
        )


def _stamp(occurrence: Occurrence) -> str:
    """Return the start in UTC, so that a meeting at another time gets another mail."""
    return f"{occurrence.starts.astimezone(UTC):%Y%m%dT%H%MZ}"
