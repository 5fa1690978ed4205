"""Made-up names, as in a list of members from 35 countries. More than a third must be encoded in a mail."""

# How many of 140 members have each name; the words mean "member".
_KINDS = {
    "Member": 88,
    "Medlem Å": 13,
    "Mema ā": 6,
    "Member O’": 5,
    "Medlem Ø": 5,
    "Aelod ŵ": 4,
    "Medlem Æ": 3,
    "Lid ij": 2,
    "Mitglied ß": 2,
    "Miembro ñ": 2,
    "عضو عائشة": 2,
    "Membro ã": 1,
    "Lid ë": 1,
    "Mitglied ü": 1,
    "Félagi Þ": 1,
    "Član č": 1,
    "成员 李": 1,
    "Liige õ": 1,
    "Участник Ольга": 1,
}
_NAMES = [kind for kind, count in _KINDS.items() for _ in range(count)]


def name(number: int) -> str:
    """Return the name of a member. The kinds are mixed, as in a list that is not sorted."""
    return f"{_NAMES[number * 37 % len(_NAMES)]} {number:04}"
