"""Send a personalised mail to N recipients in the usual ways of Python, and print the time taken as one JSON line.

`idiomatic`: Jinja text and HTML for each recipient, EmailMessage, and aiosmtplib's send_message over ten connections.
`django`: the same text through EmailMultiAlternatives over one connection, as its documentation says. Neither records
what was sent.
"""

import asyncio
import json
import resource
import sys
import time
from email.message import EmailMessage

CONNECTIONS = 10
TEXT = "Dear {{ name }},\n" + "See you on Thursday, and bring a friend.\n" * 60 + "Leave: {{ leave }}\n"
HTML = (
    "<p>Dear {{ name }},</p>"
    + "<p>See you on Thursday, and bring a friend.</p>\n" * 200
    + '<a href="{{ leave }}">Leave</a>'
)


def values(number: int) -> dict[str, str]:
    return {"name": f"Member {number}", "leave": f"https://meet.example.org/u/{number:034}"}


async def idiomatic(port: int, count: int) -> None:
    import aiosmtplib
    from jinja2 import Environment

    html = Environment(autoescape=True).from_string(HTML)
    text = Environment().from_string(TEXT)  # noqa: S701 - plain text

    async def send_share(first: int) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for number in range(first, count, CONNECTIONS):
                message = EmailMessage()
                message["From"], message["To"] = "meetings@example.org", f"member.{number}@example.org"
                message["Subject"] = "Conversation for Kindness"
                message["Message-ID"] = f"<{number}@example.org>"
                message.set_content(text.render(values(number)))
                message.add_alternative(html.render(values(number)), subtype="html")
                await client.send_message(message)

    await asyncio.gather(*(send_share(first) for first in range(CONNECTIONS)))


def django(port: int, count: int) -> None:
    import django as framework
    from django.conf import settings
    from django.core.mail import EmailMultiAlternatives, get_connection
    from django.template import Context, Engine

    settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT=port, USE_TZ=True)
    framework.setup()
    html, text = Engine().from_string(HTML), Engine(autoescape=False).from_string(TEXT)
    with get_connection("django.core.mail.backends.smtp.EmailBackend") as connection:
        for number in range(count):
            message = EmailMultiAlternatives(
                "Conversation for Kindness",
                text.render(Context(values(number))),
                "meetings@example.org",
                [f"member.{number}@example.org"],
                connection=connection,
            )
            message.attach_alternative(html.render(Context(values(number))), "text/html")
            message.send()


if __name__ == "__main__":
    kind, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    begun, cpu_before = time.perf_counter(), time.process_time()
    if kind == "django":
        django(port, count)
    else:
        asyncio.run(idiomatic(port, count))
    result = {
        "sent": count,
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu_before,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result))
