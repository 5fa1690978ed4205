"""What members and convenors want to show of themselves on the page of people, with their photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.photo import Photo
from scheduler.store import service_state
from scheduler.store.schema import members, photos, profiles


class ProfileKind(StrEnum):
    """Whom a profile shows: a convenor among the convenors, or a member on the wall. One person may have both."""

    CONVENOR = "convenor"
    WALL = "wall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What somebody wants to show. `state` is draft (only they see it), waiting (for a convenor), released (everybody
    sees it) or refused, and then `refusal` says why. `photo` is the name of the photo in its address, which is there
    in `photo_format` and as JPEG; `revision` rises with each change."""

    id: int
    member: int
    kind: ProfileKind
    state: str
    name: str
    role: str
    organisation: str
    country: str | None
    photo: str | None
    photo_format: str | None
    revision: int
    changed_at: datetime
    released_at: datetime | None
    refusal: str


def _read(row: Row[Any]) -> Profile:
    values = dict(row._mapping)
    return Profile(**{**values, "kind": ProfileKind(values["kind"])})


def _is_shown(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition, on profiles and members, that everybody may see a profile."""
    return and_(
        profiles.c.state == "released",
        members.c.status.in_(("active", "paused")),
        or_(profiles.c.kind == "wall", members.c.role == "convenor"),
        *conditions,
    )


_WITH_MEMBER = profiles.join(members, members.c.id == profiles.c.member)


async def shown(
    connection: AsyncConnection, kind: ProfileKind, *, after: int = 0, most: int | None = None
) -> list[Profile]:
    """Return the released profiles of a kind, without the first `after`: the convenors who have been shown longest come
    first, and on the wall the newest."""
    newest_first = kind is ProfileKind.WALL
    order = [column.desc() if newest_first else column for column in (profiles.c.released_at, profiles.c.id)]
    query = select(profiles).select_from(_WITH_MEMBER).where(_is_shown(profiles.c.kind == kind.value))
    query = query.order_by(*order).offset(after).limit(most)
    return [_read(row) for row in await connection.execute(query)]


async def count_shown(connection: AsyncConnection, kind: ProfileKind) -> int:
    query = select(func.count()).select_from(_WITH_MEMBER).where(_is_shown(profiles.c.kind == kind.value))
    return int(await connection.scalar(query) or 0)


async def waiting(connection: AsyncConnection) -> list[Profile]:
    """Return the profiles that wait for a convenor, the oldest first."""
    query = select(profiles).where(profiles.c.state == "waiting")
    query = query.order_by(profiles.c.changed_at, profiles.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def count_waiting(connection: AsyncConnection) -> int:
    query = select(func.count()).select_from(profiles).where(profiles.c.state == "waiting")
    return int(await connection.scalar(query) or 0)


async def by_id(connection: AsyncConnection, number: int) -> Profile | None:
    row = (await connection.execute(select(profiles).where(profiles.c.id == number))).first()
    return _read(row) if row else None


async def of_member(connection: AsyncConnection, member: int, kind: ProfileKind) -> Profile | None:
    query = select(profiles).where(profiles.c.member == member, profiles.c.kind == kind.value)
    row = (await connection.execute(query)).first()
    return _read(row) if row else None


async def save(connection: AsyncConnection, member: int, kind: ProfileKind, **values: Any) -> None:
    """Insert a member's profile, or change it, which raises its revision."""
    await service_state.note_change(connection)
    if found := await of_member(connection, member, kind):
        changed = update(profiles).where(profiles.c.id == found.id)
        await connection.execute(changed.values(**values, revision=found.revision + 1))
    else:
        await connection.execute(insert(profiles).values(member=member, kind=kind.value, **values))


async def store_photo(
    connection: AsyncConnection, member: int, kind: ProfileKind, forms: Sequence[Photo]
) -> None:
    """Replace the photo of a profile; with no `forms`, delete it."""
    await connection.execute(delete(photos).where(photos.c.member == member, photos.c.kind == kind.value))
    if forms:
        rows = [{"member": member, "kind": kind.value, **form._asdict()} for form in forms]
        await connection.execute(insert(photos), rows)


async def remove(connection: AsyncConnection, member: int, *kinds: ProfileKind) -> int:
    """Delete a member's profiles of these kinds, with their photos; return how many there were."""
    removed = delete(profiles).where(
        profiles.c.member == member, profiles.c.kind.in_([kind.value for kind in kinds])
    )
    count = (await connection.execute(removed)).rowcount
    if count:
        await service_state.note_change(connection)
    return count


async def shown_photo(connection: AsyncConnection, name: str, size: int, format_: str) -> bytes | None:
    """Return a photo by the name in its address if everybody may see it."""
    query = _photo(size, format_).join(members, members.c.id == profiles.c.member)
    content: bytes | None = await connection.scalar(query.where(_is_shown(profiles.c.photo == name)))
    return content


async def photo_of(connection: AsyncConnection, number: int, size: int, format_: str) -> bytes | None:
    """Return the photo of the profile with that number, whoever may see it."""
    content: bytes | None = await connection.scalar(_photo(size, format_).where(profiles.c.id == number))
    return content


def _photo(size: int, format_: str) -> Select[tuple[bytes]]:
    own = and_(photos.c.member == profiles.c.member, photos.c.kind == profiles.c.kind)
    query = select(photos.c.content).select_from(photos.join(profiles, own))
    return query.where(photos.c.size == size, photos.c.format == format_)


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete the profiles that were not released and have not changed since an instant; return how many."""
    old = delete(profiles).where(
        profiles.c.state.in_(("draft", "waiting", "refused")), profiles.c.changed_at < before
    )
    return (await connection.execute(old)).rowcount
