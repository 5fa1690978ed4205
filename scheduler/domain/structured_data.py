"""What search engines read about the community and its meetings: JSON-LD in the vocabulary of schema.org."""

from collections.abc import Sequence
from typing import Any

from scheduler.domain.community import Community
from scheduler.domain.localtime import LocalTime
from scheduler.domain.meeting_record import Speaker
from scheduler.domain.occurrence import Occurrence, Series, Status

_STATUS = {
    Status.SCHEDULED: "https://schema.org/EventScheduled",
    Status.MOVED: "https://schema.org/EventRescheduled",
    Status.CANCELLED: "https://schema.org/EventCancelled",
}


def organization(community: Community, *, logo: bool) -> dict[str, Any]:
    """Return the community as an Organization; `logo` is whether it has one at /logo."""
    document = {"@context": "https://schema.org", **_organizer(community)}
    if community.description:
        document["description"] = community.description
    if logo:
        document["logo"] = f"{community.base_url}/logo"
    elsewhere = [community.website, *(url for _, url in community.links)]
    if same_as := [url for url in elsewhere if url]:
        document["sameAs"] = same_as
    return document


def event(
    occurrence: Occurrence,
    series: Series,
    community: Community,
    *,
    home: LocalTime,
    was: LocalTime | None,
    description: str,
    url: str,
    picture: str,
    speakers: Sequence[Speaker] = (),
) -> dict[str, Any]:
    """Return a meeting as an Event.

    `home` is its time in its own zone and `was` the time from which it was moved. Its place is its public page, `url`:
    the room's own link is for members. `speakers` are those who have a page of their own; without them, the text of the
    occurrence is named.
    """
    document: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Event",
        "name": occurrence.topic or series.title,
        "description": description,
        "url": url,
        "image": [picture],
        "startDate": home.starts_iso,
        "endDate": home.ends_iso,
        "eventStatus": _STATUS[occurrence.status],
        "eventAttendanceMode": "https://schema.org/OnlineEventAttendanceMode",
        "location": {"@type": "VirtualLocation", "url": url},
        "organizer": _organizer(community),
        "isAccessibleForFree": True,
        "superEvent": {
            "@type": "EventSeries",
            "name": series.title,
            "url": f"{community.base_url}/series/{series.slug}",
        },
    }
    if was:
        document["previousStartDate"] = was.starts_iso
    if speakers:
        document["performer"] = [
            {"@type": "Person", "name": speaker.name, "url": f"{community.base_url}/speakers/{speaker.slug}"}
            for speaker in speakers
        ]
    elif occurrence.speakers:
        document["performer"] = {"@type": "PerformingGroup", "name": occurrence.speakers}
    return document


def _organizer(community: Community) -> dict[str, Any]:
    return {"@type": "Organization", "name": community.name, "url": f"{community.base_url}/"}
