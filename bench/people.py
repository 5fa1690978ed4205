"""Made-up names as a list of members from 35 countries has them: more than a third need an encoding in a mail."""

# Of 140 members so many each; the words mean "member".
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
    """The name of a member. Kinds follow each other as in a list that nobody has sorted."""
    return f"{_NAMES[number * 37 % len(_NAMES)]} {number:04}"
