"""What the demo is made of: members, meetings, people who are shown, requests and a notice. All of it is made up."""

from collections.abc import Mapping
from typing import NamedTuple

from scheduler.bootstrap.demo_portraits import Style

DESCRIPTION = "An hour of conversation about kindness, online, on the third Thursday of every month."

# Name, country, zone and locale, in thirty zones; some have unusual offsets or clock changes.
PEOPLE = """
Aroha Ngata|NZ|Pacific/Auckland|en-NZ
Wiremu Parata|NZ|Pacific/Auckland|en-NZ
Hine Tainui|NZ|Pacific/Chatham|en-NZ
Tevita Fonua|TO|Pacific/Tongatapu|en-NZ
Grace Whitlam|AU|Australia/Sydney|en-AU
Linnéa Ek|SE|Europe/Stockholm|sv-SE
Matilda Rowe|AU|Australia/Adelaide|en-AU
Jack Thorne|AU|Australia/Perth|en-AU
Isla Gower|AU|Australia/Lord_Howe|en-AU
佐藤 遥|JP|Asia/Tokyo|ja-JP
Wei Ling Tan|SG|Asia/Singapore|en-SG
李美玲|HK|Asia/Hong_Kong|zh-Hant-HK
Priya Raman|IN|Asia/Kolkata|en-IN
Arjun Mehta|IN|Asia/Kolkata|en-IN
Sita Gurung|NP|Asia/Kathmandu|en-GB
Rahim Chowdhury|BD|Asia/Dhaka|en-GB
عائشة حداد|AE|Asia/Dubai|ar-AE
Ananya Iyer|IN|Asia/Kolkata|en-IN
Wanjiru Kamau|KE|Africa/Nairobi|sw-KE
Thandi Nkosi|ZA|Africa/Johannesburg|en-ZA
Youssef Amrani|MA|Africa/Casablanca|fr-MA
Mariam Fahmy|EG|Africa/Cairo|ar-EG
Zuzana Horáková|DE|Europe/Berlin|cs-CZ
Åsa Lindqvist|SE|Europe/Stockholm|sv-SE
Nils Berg|SE|Europe/Stockholm|sv-SE
Jürgen Weiß|DE|Europe/Berlin|de-DE
Chiara Conti|IT|Europe/Rome|it-IT
Siobhán Ní Bhriain|IE|Europe/Dublin|en-IE
Eleri Pritchard|GB-WLS|Europe/London|cy-GB
Fiona Stewart|GB-SCT|Europe/London|en-GB
Samuel Okafor|GB-ENG|Europe/London|en-GB
Harriet Lowe|GB-ENG|Europe/London|en-GB
Sigrún Jónsdóttir|IS|Atlantic/Reykjavik|is-IS
João Carvalho|PT|Atlantic/Azores|pt-PT
Beatriz Moura|BR|America/Sao_Paulo|pt-BR
Camila Rojas|CL|America/Santiago|es-CL
Emily Carter|US|America/New_York|en-US
Luis Ortega|US|America/Los_Angeles|en-US
Nathan Cole|US|America/New_York|en-US
Brendan Power|CA|America/St_Johns|en-CA
"""


class Shown(NamedTuple):
    """Somebody who is shown: the number of the member, what they are called and do, and how they are drawn."""

    member: int
    name: str
    role: str
    style: Style
    organisation: str = ""


CONVENORS = (
    Shown(31, "Samuel Okafor", "Hosts the meetings", "beard", "Northbridge Hospice"),
    Shown(1, "Aroha Ngata", "Looks after the archive", "long", "Harbour Library"),
    Shown(35, "Beatriz Moura", "Welcomes newcomers", "curls", "Casa Aberta"),
)

WALL = (
    Shown(4, "Tevita", "Paramedic", "short"),
    Shown(5, "Grace", "Teaches seven-year-olds", "bun"),
    Shown(8, "Jack", "Bus driver and choir singer", "bald"),
    Shown(10, "遥", "Nurse on a children's ward", "long"),
    Shown(11, "Wei Ling", "Architect", "bun"),
    Shown(12, "美玲", "Translates poems", "long"),
    Shown(13, "Priya", "General practitioner", "long"),
    Shown(15, "Sita", "Midwife in the hills", "bun"),
    Shown(16, "Rahim", "Engineer who repairs bicycles", "beard"),
    Shown(17, "عائشة", "Librarian", "scarf"),
    Shown(19, "Wanjiru", "Runs a market stall", "curls"),
    Shown(20, "Thandi", "Community organiser", "curls"),
    Shown(22, "Mariam", "Physiotherapist", "scarf"),
    Shown(24, "Åsa", "Mediator", "long"),
    Shown(26, "Jürgen", "Retired, volunteers at a hospice", "bald"),
    Shown(27, "Chiara", "Cooks for forty every Friday", "curls"),
    Shown(28, "Siobhán", "Social worker", "bun"),
    Shown(33, "Sigrún", "Writes children's books", "long"),
    Shown(36, "Camila", "Student of psychology", "long"),
    Shown(40, "Brendan", "Fisherman", "beard"),
)

LISTENERS = frozenset({1, 4, 5, 10, 11, 12, 13, 14, 17, 19, 20, 24, 27, 28, 31, 33, 35})
"""The members who follow the second series."""

THEMES: Mapping[str, str] = {
    "Clean language": (
        "Questions that leave other people's words and pictures as they are. Several of us practise them at work."
    ),
    "Health care": "Kindness between patients, relatives and staff, where there is never enough time.",
    "Listening": "What helps people to feel heard, and what gets in the way.",
    "Neighbours": "Streets, stairwells and villages: what we do for those who happen to live beside us.",
    "Work": "Meetings, mistakes and bad days, and how colleagues can make them easier.",
}


class Talk(NamedTuple):
    """A past meeting. `speakers` are as the command line has them."""

    topic: str
    speakers: str
    themes: tuple[str, ...]
    summary: str
    insights: str
    has_slides: bool = False


# From the latest one back.
TALKS = (
    Talk(
        "Clean language: asking without steering",
        "Maïwenn Le Goff, coach, Atelier Clair; Samuel Okafor, host, Northbridge Hospice",
        ("Clean language", "Listening"),
        "Maïwenn showed how few questions are needed when they use only the other person's words. In pairs, we asked "
        "“And is there anything else about that?” three times in a row, and were surprised by the third answer.",
        "- The first answer is polite, the second is tidy, the third is often true.\n"
        "- Repeating somebody's own word is not parroting: it shows which word was heard.\n"
        "- Silence of five seconds feels long only to the person who asks.",
        has_slides=True,
    ),
    Talk(
        "Small kindnesses on a night shift",
        "Nguyễn Thị Lan, nurse, Riverside Hospital",
        ("Health care", "Work"),
        "Lan told of the hours between three and five, when tea, a lamp and a sentence can decide how a night is "
        "remembered. We collected what others had done for us when we were too tired to ask.",
        "- Offer something specific: “Shall I take the next call?”\n- Say thank you before the shift ends.",
    ),
    Talk(
        "The neighbour whom nobody knows",
        "Bartłomiej Żak, postman; Åsa Lindqvist, mediator",
        ("Neighbours",),
        "Bartłomiej has delivered letters in the same streets for twenty-two years. He described how he notices "
        "that somebody is missing, and whom he tells. Åsa added what she does when neighbours no longer greet.",
        "- Learn one name on each floor.\n- Ask for a small favour; it is easier to accept than to offer.",
    ),
    Talk(
        "Saying no kindly",
        "Oluwaseun Adébáyò, head teacher, Hilltop School",
        ("Work", "Listening"),
        "A clear no can be kinder than a slow yes. Oluwaseun brought four letters that he is glad to have written, "
        "and one that he would write differently today.",
        "- Give the answer first and the reason second.\n- Leave a door open only if you mean it.",
        has_slides=True,
    ),
    Talk(
        "What children notice",
        "Sigrún Jónsdóttir, author; José Peña, teacher",
        ("Listening", "Neighbours"),
        "Sigrún read two pages of a book that six-year-olds had corrected. José's pupils keep a list of kind things "
        "they saw, not did, each week.",
        "- Children describe what was done, adults what was meant.\n- To be seen being kind is not the point.",
    ),
    Talk(
        "Mistakes, and what happens next",
        "Dr İpek Yıldız, surgeon, Bay Clinic",
        ("Health care", "Work"),
        "After a mistake, who speaks first, and to whom? İpek described a ward where each apology is rehearsed with "
        "a colleague before it is made.",
        "- An apology names what happened.\n- The person who made the mistake needs somebody, too.",
    ),
    Talk(
        "Kindness across languages",
        "李美玲, translator; عائشة حداد, librarian",
        ("Clean language", "Neighbours"),
        "Some languages have four words for kindness, and one of ours has none. We translated a single sentence "
        "into eleven languages and back, and discussed what was lost.",
        "- Polite and kind are often, but not everywhere, the same word.\n- Ask how a thing is said at home.",
        has_slides=True,
    ),
    Talk(
        "Five minutes at the door",
        "Jürgen Weiß, volunteer, Lindenhof Hospice",
        ("Health care", "Listening"),
        "Most visits at a hospice are decided in the first five minutes. Jürgen showed how he knocks, where he sits, "
        "and what he never asks.",
        "- Sit down, even for a minute.\n- Ask what the person would like to be called.",
    ),
    Talk(
        "A kinder meeting",
        "Chiara Conti, cook; Gwenllïan Rhys, engineer",
        ("Work",),
        "We took apart a meeting that everybody dreads. Gwenllïan's rule is that nobody speaks twice before everybody "
        "has spoken once; Chiara's is that there is food.",
        "- End ten minutes early.\n- Say who has not been heard.",
    ),
)

LISTENING_TALKS = (
    Talk(
        "Listening to somebody who is angry",
        "Åsa Lindqvist, mediator",
        ("Listening",),
        "We practised in threes: one told, one listened, one watched. Those who watched learned most.",
        "- Anger has a subject. Wait until you know it.",
    ),
    Talk(
        "Clean questions for a first meeting",
        "Maïwenn Le Goff, coach, Atelier Clair",
        ("Clean language", "Listening"),
        "Two questions are enough to begin: “What would you like to have happen?” and “What kind of that is that?”",
        "- Write down the exact words.",
    ),
    Talk(
        "Hearing what is not said",
        "Wanjiru Kamau, trader",
        ("Listening", "Neighbours"),
        "At a market stall, people say what they want to buy. Wanjiru told us what else she hears.",
        "- A pause before a price is an answer.",
    ),
)

NEXT_TOPIC = "Receiving kindness"
NEXT_SPEAKERS = "Thandi Nkosi, community organiser"
NEXT_LISTENING_TOPIC = "Listening in a second language"

MOVED = "Our speakers can only come earlier that week, so we moved the meeting."
CANCELLED = "Those who host it are travelling that week. We look forward to the meeting after it."

ABOUT = (
    "We are people from many countries who meet online once a month to talk about kindness: what it is, where it is "
    "missing, and how to bring it into our work and our streets.\n\n"
    "## Why we meet\n\n"
    "Kindness is easy to praise and hard to practise on a bad day. For an hour, somebody tells us about what they do, "
    "and we talk in small groups. Most of us take one thing home that we try before the next meeting.\n\n"
    "## How it began\n\n"
    "Seven of us met in July 2020, when nobody could visit anybody. We meant to stop after the summer. Today there are "
    "forty of us in thirty time zones, and we still begin with the same question: *What was a kind thing that you "
    "saw?*\n\n"
    "## How we work together\n\n"
    "- Everybody is welcome, whatever they know already.\n"
    "- What is shared may be used by everybody; what is personal stays among us.\n"
    "- We listen first. Nobody has to speak, or to switch on a camera.\n\n"
    "## Where else to find us\n\n"
    "- [Our recordings](https://recordings.example.org/)\n"
    "- [Our reading list](https://reading.example.org/)\n"
)


class Asking(NamedTuple):
    """A request to join."""

    name: str
    address: str
    country: str
    zone: str
    locale: str
    words: str


REQUESTS = (
    Asking(
        "Łucja Wiśniewska",
        "lucja@pl.example.org",
        "PL",
        "Europe/Warsaw",
        "pl-PL",
        "A colleague told me about your meeting on night shifts. I am a nurse and would like to listen first.",
    ),
    Asking(
        "محمد الفاسي",
        "mohammed@ma.example.org",
        "MA",
        "Africa/Casablanca",
        "ar-MA",
        "I teach at a school for adults and look for ways to begin a lesson kindly.",
    ),
    Asking(
        "Mikkel Sørensen",
        "mikkel@dk.example.org",
        "DK",
        "Europe/Copenhagen",
        "da-DK",
        "I read about clean language in your archive.",
    ),
)

NOTICE_SUBJECT = "A page about who we are"
NOTICE_BODY = (
    "Dear {name},\n\n"
    "our website has a new page, *People*. If you would like to be seen there with your first name and what you do, "
    "you can say so on [your own page]({my_page}). A picture is welcome, but not needed.\n"
)
