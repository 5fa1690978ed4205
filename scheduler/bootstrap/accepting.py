"""What a key of the settings accepts: the domain's checks, and how a value is read, as pydantic wants them."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, time
from difflib import get_close_matches
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from scheduler.delivery.transport import parse_transport
from scheduler.domain.address import require_address
from scheduler.domain.duration import parse_duration
from scheduler.domain.link import require_url
from scheduler.domain.occurrence import require_slug
from scheduler.domain.problem import Problem
from scheduler.domain.text import require_line, require_prose
from scheduler.domain.zone import require_zone
from scheduler.store.database_url import parse_url
from scheduler.web.visitor import Networks

DOMAIN = re.compile(r"(?=.{1,190}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
MAIL_DOMAIN = re.compile(rf"(?=[^.]+\.){DOMAIN.pattern}")
SELECTOR = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")
_ORIGIN = r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?"
ORIGINS = re.compile(rf"\*|{_ORIGIN}(?: {_ORIGIN})*")
HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*")

# CSS Color Module Level 4, section 6.1: the values of COLOR in RFC 7986.
CSS_COLORS = frozenset(
    """
    aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet brown burlywood
    cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue darkcyan darkgoldenrod darkgray
    darkgreen darkgrey darkkhaki darkmagenta darkolivegreen darkorange darkorchid darkred darksalmon darkseagreen
    darkslateblue darkslategray darkslategrey darkturquoise darkviolet deeppink deepskyblue dimgray dimgrey dodgerblue
    firebrick floralwhite forestgreen fuchsia gainsboro ghostwhite gold goldenrod gray green greenyellow grey honeydew
    hotpink indianred indigo ivory khaki lavender lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan
    lightgoldenrodyellow lightgray lightgreen lightgrey lightpink lightsalmon lightseagreen lightskyblue lightslategray
    lightslategrey lightsteelblue lightyellow lime limegreen linen magenta maroon mediumaquamarine mediumblue
    mediumorchid mediumpurple mediumseagreen mediumslateblue mediumspringgreen mediumturquoise mediumvioletred
    midnightblue mintcream mistyrose moccasin navajowhite navy oldlace olive olivedrab orange orangered orchid
    palegoldenrod palegreen paleturquoise palevioletred papayawhip peachpuff peru pink plum powderblue purple
    rebeccapurple red rosybrown royalblue saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue
    slateblue slategray slategrey snow springgreen steelblue tan teal thistle tomato turquoise violet wheat white
    whitesmoke yellow yellowgreen
    """.split()
)


def checked_by(check: Callable[[str, str], str], *, empty: bool = False) -> AfterValidator:
    """A check of the domain's as one of a key; `empty` lets "" through."""

    def validate(value: str, info: ValidationInfo) -> str:
        try:
            return value if empty and not value else check(value, info.field_name or "")
        except Problem as problem:
            raise ValueError(problem) from None

    return AfterValidator(validate)


def _some(value: str, what: str) -> str:
    if not value:
        raise ValueError(f"{what}: is empty")
    return value


def matching(pattern: re.Pattern[str]) -> Callable[[str, str], str]:
    def check(value: str, what: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{what}: '{value}' is not accepted")
        return value

    return check


def require_color(value: str, what: str) -> str:
    name = value.strip().lower()
    if name not in CSS_COLORS:
        near = get_close_matches(name, CSS_COLORS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{what}: '{value}' is not the name of a colour{hint}")
    return name


def require_database(value: str, what: str) -> str:
    parse_url(value)
    return value


def require_transport(value: str, what: str) -> str:
    parse_transport(value)
    return value


def require_private_key(value: str, what: str) -> str:
    if not value.isprintable() and not value.lstrip().startswith("-----BEGIN"):
        raise ValueError(f"{what}: is neither a path nor PEM text")
    return value


def require_base_url(value: str, what: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError(f"{what}: '{value}' has more than a path after the host")
    url = require_url(value, what).rstrip("/")
    if urlsplit(url).hostname in ("0.0.0.0", "::"):  # noqa: S104 - to refuse it
        raise ValueError(f"{what}: '{value}' can be listened on, but nobody can go there")
    return url


def require_secret_url(value: str, what: str) -> str:
    """As `require_url`, for an address that may hold a token: the refusal does not show it."""
    try:
        return require_url(value, what)
    except Problem:
        raise ValueError(f"{what}: its value is not a web address") from None


def read_date(value: Any) -> Any:
    # A date may also be quoted; a date with a time is not one.
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"'{value}' is not a date") from None
    return value


def _read_time(value: Any) -> Any:
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)\s*", value, re.ASCII)
        if not found:
            raise ValueError(f"'{value}' is not a time")
        return time(int(found["hour"]), int(found["minute"]))
    return value


def read_lead(value: Any) -> Any:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except Problem as problem:
        raise ValueError(problem) from None


def read_links(value: Any) -> Any:
    """The label and address of each link, in their order."""
    if not isinstance(value, dict):
        return value
    links = []
    for label, url in value.items():
        try:
            label = _some(
                require_line(label, "the label of a link", longest=LONGEST_LABEL), "the label of a link"
            )
            links.append((label, require_url(url if isinstance(url, str) else "", f"'{label}'")))
        except Problem as problem:
            raise ValueError(problem) from None
    return tuple(links)


def read_networks(value: Any) -> Any:
    """The addresses and networks of a list, or of a text with commas or spaces between (from the environment)."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return value
    try:
        Networks.of(value)
    except Problem as problem:
        raise ValueError(problem) from None
    return tuple(value)


def require_place(value: str, what: str) -> str:
    """An address and port to listen on."""
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"\[[0-9A-Fa-f:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*", host) or not re.fullmatch(
        r"[0-9]{1,5}", port
    ):
        raise ValueError(f"{what}: '{value}' is not accepted")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{what}: '{port}' is no port")
    return value


def read_key(value: Any) -> Any:
    """The octets that hexadecimal or base64 (of either alphabet) stands for; None for ""."""
    if not isinstance(value, str) or not value:
        return None if value == "" else value
    try:
        key = bytes.fromhex(value)
    except ValueError:
        try:
            plain = value.rstrip("=").replace("-", "+").replace("_", "/")
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except binascii.Error:
            raise ValueError("its value is neither hexadecimal nor base64") from None
    if len(key) < 32:
        raise ValueError(f"its value has {len(key)} octets")
    return key


Line = Annotated[str, checked_by(require_line), checked_by(_some)]
Prose = Annotated[str, checked_by(require_prose)]
Slug = Annotated[str, checked_by(require_slug)]
Address = Annotated[str, checked_by(require_address)]
Zone = Annotated[str, checked_by(require_zone)]
OptionalUrl = Annotated[str, checked_by(require_url, empty=True)]
SecretUrl = Annotated[str, checked_by(require_secret_url, empty=True)]
WallTime = Annotated[time, BeforeValidator(_read_time)]

LONGEST_LABEL = 100

SLUG = "lower-case letters, digits and single hyphens"
LINE = "one line of text"
PROSE = "text"
ADDRESS = "an e-mail address, as name@example.org"
URL = 'an http or https address, as https://example.org/room, or ""'
LINKS = 'labels with web addresses, as { "Recordings" = "https://example.org/recordings" }, or {}'
DAYS = "a whole number of days from 1 to 3650"
TIME = 'a time as "18:00"'
