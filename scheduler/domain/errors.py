"""Errors whose one-line message tells a person what is wrong, where, and what to do."""


class Problem(Exception):
    """Something that a person can put right. The message is one line that names the place and what to do."""

    @property
    def message(self) -> str:
        """What pages show of it."""
        return str(self)


class SettingsProblem(Problem):
    """A setting is wrong or unknown. The message names the file, section and key, and what is accepted."""


class Refused(Problem):
    """A value from outside is not acceptable: a date, a zone, an address, a text.

    `option` is the option of the command line that the value came from, and `command` what to do there. They are part
    of the text, but not of `message`, which is for pages.
    """

    def __init__(self, message: str, *, option: str = "", command: str = "") -> None:
        text = f"{option} {message}" if option else message
        super().__init__(f"{text}; {command}" if command else text)
        self._message = message

    @property
    def message(self) -> str:
        return self._message
