"""The named errors of the house: what went wrong, where, and what to do about it, in one line."""


class Problem(Exception):
    """Something a person can mend. Its text is one line that names the place and what to do."""


class SettingsProblem(Problem):
    """A setting is wrong or unknown; names file, section and key, and what is accepted."""


class Refused(Problem):
    """A value cannot be accepted where it came in: a date, a zone, an address, a text."""
