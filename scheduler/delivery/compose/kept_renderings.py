"""Keep the rendering of each cohort before its first message is sent, so that a convenor can see what was sent."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from scheduler.delivery.compose.composer import CohortMessage, RecipientValues
from scheduler.delivery.compose.rendering import render
from scheduler.domain.errors import Problem
from scheduler.store import renderings
from scheduler.store.database import Database
from scheduler.store.ledger.claims import Claim
from scheduler.store.renderings import Wording

_REMEMBERED = 4_096
"""The number of renderings of which this process remembers that they are kept."""

_Key = tuple[Hashable, str, bool, bool]


@dataclass(slots=True)
class Batch:
    """What a batch of messages needs: the renderings that are not known to be kept, and the deliveries that may have
    other than the first rendering of their wording."""

    new: dict[_Key, tuple[Wording, bytes]] = field(default_factory=dict)
    others: dict[_Key, list[int]] = field(default_factory=dict)


class KeptRenderings:
    """The renderings that were kept already.

    Nearly all deliveries have the first rendering of their wording, which their row tells. Only of the others it is
    noted which one they have.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers: OrderedDict[_Key, int | None] = OrderedDict()

    def note(
        self,
        batch: Batch,
        cohort: Hashable,
        message: CohortMessage,
        claims: Sequence[Claim],
        recipients: Sequence[RecipientValues],
    ) -> None:
        """Add to `batch` that these claims are sent with the `message` of a cohort."""
        groups = {
            (claim.zone, personal.assumed, bool(personal.uid))
            for claim, personal in zip(claims, recipients, strict=True)
        }
        for group in groups:
            key = (cohort, *group)
            if self._numbers.get(key, 0) is None:
                # So it is for nearly all messages.
                continue
            pairs = [
                (claim, personal)
                for claim, personal in zip(claims, recipients, strict=True)
                if (claim.zone, personal.assumed, bool(personal.uid)) == group
            ]
            if key not in self._numbers:
                claim, personal = pairs[0]
                try:
                    batch.new[key] = _wording_of(claim), render(message, personal)
                except Problem:
                    # The messages of this group cannot be written either.
                    continue
            batch.others[key] = [claim.id for claim, _ in pairs]

    async def store(self, batch: Batch) -> None:
        """Store what is new in a batch, before its messages are sent."""
        if not batch.new and not batch.others:
            return
        async with self._database.write() as connection:
            kept = {
                key: await renderings.keep(connection, wording, content)
                for key, (wording, content) in batch.new.items()
            }
            deliveries_of: dict[int, list[int]] = {}
            for key, ids in batch.others.items():
                number = kept[key] if key in kept else self._numbers[key]
                if number is not None:
                    deliveries_of.setdefault(number, []).extend(ids)
            await renderings.assign(connection, deliveries_of)
        self._numbers |= kept
        while len(self._numbers) > _REMEMBERED:
            self._numbers.popitem(last=False)


def _wording_of(claim: Claim) -> Wording:
    return Wording(
        claim.notice,
        -1 if claim.revision is None else claim.revision,
        claim.zone,
        claim.locale,
        claim.first,
        claim.assumes_zone,
    )
