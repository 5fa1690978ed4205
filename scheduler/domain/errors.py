"""Errors whose one-line message tells a person what is wrong, where, and what to do."""


class Problem(Exception):
    """Something that a person can put right. The message is one line that names the place and what to do."""


class SettingsProblem(Problem):
    """A setting is wrong or unknown. The message names the file, section and key, and what is accepted."""


class Refused(Problem):
    """A value from outside is not acceptable: a date, a zone, an address, a text."""
