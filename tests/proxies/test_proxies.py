"""nginx, Caddy and HAProxy in front, set up as in their manuals: visitors are recognised, nothing private is open."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import text

from scheduler.store.database import Database
from tests.postgres import free_loopback_port

pytestmark = [pytest.mark.proof, pytest.mark.short]

# As in the NGINX Admin Guide, "NGINX Reverse Proxy".
NGINX = """
{user}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      {headers}
    }}
  }}
}}
"""
_HEADERS = """proxy_set_header Host $host:$server_port;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;"""
# As in Caddy's documentation, "reverse_proxy".
CADDY = """
{{
    admin off
    auto_https off
}}
http://:{port} {{
    reverse_proxy 127.0.0.1:{behind}
}}
"""
# As in HAProxy's Configuration Manual, "option forwardfor"; "option forwarded" is newer than Debian's.
HAPROXY = """
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 5s
frontend web
    bind 127.0.0.1:{port}
    default_backend ours
backend ours
    {option}
    server one 127.0.0.1:{behind}
"""


class Front(NamedTuple):
    """A proxy: its command, its settings file, and whether it passes on the visitor's address."""

    command: tuple[str, ...]
    settings: str
    names_visitors: bool = True


FRONTS = {
    "nginx": Front(("nginx", "-p", "{folder}", "-c"), NGINX.replace("{headers}", _HEADERS)),
    "nginx, proxy_pass alone": Front(
        ("nginx", "-p", "{folder}", "-c"), NGINX.replace("{headers}", ""), False
    ),
    "caddy": Front(("caddy", "run", "--adapter", "caddyfile", "--config"), CADDY),
    "haproxy": Front(("haproxy", "-db", "-f"), HAPROXY.replace("{option}", "option forwardfor")),
    "haproxy, Forwarded": Front(
        ("haproxy", "-db", "-f"), HAPROXY.replace("{option}", "http-request set-header Forwarded for=%[src]")
    ),
}
FORGED = {
    "X-Forwarded-For": "203.0.113.{}",
    "Forwarded": "for=203.0.113.{}",
    "X-Real-IP": "203.0.113.{}",
    "Via": "1.1 203.0.113.{}",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, int]]:
    """The folder of a `serve` behind a proxy on the same machine, its port, and that of its metrics."""
    folder = tmp_path_factory.mktemp("service")
    port, metrics = free_loopback_port(), free_loopback_port()
    (folder / "my.toml").write_text(
        '[web]\ntrusted_proxies = ["127.0.0.1"]\nform_mails_an_hour = 100000\n'
        f'[watch]\nmetrics_listen = "127.0.0.1:{metrics}"\n'
    )
    environment = {
        **os.environ,
        "THIRD_THURSDAY_WEB__PORT": str(port),
        "THIRD_THURSDAY_DATABASE__URL": f"sqlite:///{folder}/t.sqlite",
        "THIRD_THURSDAY_MAIL__TRANSPORT": f"maildir:{folder}/mail",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "scheduler", "--config", "my.toml", "serve"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    answers(port)
    yield folder, port, metrics
    process.terminate()
    process.wait(60)


@pytest.fixture(scope="module", params=FRONTS)
def front(
    request: pytest.FixtureRequest, service: tuple[Path, int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Front, int]]:
    """A proxy in front of it, and its port."""
    front, tmp_path = FRONTS[request.param], tmp_path_factory.mktemp("proxy")
    program = shutil.which(front.command[0], path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip(f"needs {front.command[0]} (the Debian package of that name)")
    port = free_loopback_port()
    user = "user root; " if os.geteuid() == 0 else ""
    settings = tmp_path / "settings"
    settings.write_text(front.settings.format(folder=tmp_path, port=port, behind=service[1], user=user))
    command = [program, *(part.format(folder=tmp_path) for part in front.command[1:]), str(settings)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
        )
    answers(port)
    yield front, port
    process.terminate()
    process.wait(30)


def answers(port: int) -> None:
    """Wait until a server answers there."""
    for _ in range(600):
        with suppress(OSError):
            if ask(port, "/healthz").status == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"nothing answers on port {port}")


def ask(
    port: int, path: str, *, visitor: str = "127.0.0.1", method: str = "GET", body: str = "", **headers: str
) -> HTTPResponse:
    """Send a request from an address of this machine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20, source_address=(visitor, 0))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body:
        named["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, body or None, named)
    answer = connection.getresponse()
    answer.text = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def counts(folder: Path) -> dict[str, int]:
    """Return how many mails each visitor asked for."""

    async def read() -> dict[str, int]:
        database = Database(f"sqlite:///{folder}/t.sqlite")
        async with database.write() as connection:
            rows = (await connection.execute(text("SELECT visitor, count FROM form_counts"))).all()
            await connection.exec_driver_sql("DELETE FROM form_counts")
        await database.close()
        return {str(row[0]): int(row[1]) for row in rows if row[0]}

    return asyncio.run(read())


def want_link(port: int, number: int, visitor: str, **headers: str) -> int:
    return ask(
        port, "/me", visitor=visitor, method="POST", body=f"email=a{number}%40example.org", **headers
    ).status


def test_visitors_are_distinguished_and_forged_headers_have_no_effect(
    service: tuple[Path, int, int], front: tuple[Front, int]
) -> None:
    """Behind a proxy that appends a line, one visitor had 2,000 confirmation mails sent."""
    proxy, port = front
    if not proxy.names_visitors:
        return  # such a proxy is not to be named in trusted_proxies: see docs/security.md
    counts(service[0])
    for number in range(12):
        assert want_link(port, number, f"127.0.0.{2 + number % 3}") == 200
    assert sorted(counts(service[0]).values()) == [4, 4, 4]
    for number in range(12):
        forged = {name: value.format(number) for name, value in FORGED.items()}
        assert want_link(port, number, f"127.0.0.{2 + number % 3}", **forged) == 200
    # Visitors are distinguished if the proxy drops untrusted headers; if two headers disagree, all count as the proxy.
    assert len(counts(service[0])) in (1, 3)


@pytest.mark.parametrize("name", [*FORGED, ""])
def test_forging_a_header_gives_nobody_more_than_the_hourly_limit(
    service: tuple[Path, int, int], front: tuple[Front, int], name: str
) -> None:
    if not front[0].names_visitors:
        return
    counts(service[0])
    codes = []
    for number in range(33):
        forged = {name: FORGED[name].format(number)} if name else {}
        codes.append(want_link(front[1], number, "127.0.0.9", **forged))
    assert codes == [200] * 30 + [429] * 3
    assert len(counts(service[0])) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "127.0.0.1:8000"},
        {"Host": "localhost"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Authorization": "Bearer "},
    ],
)
def test_the_outbox_and_the_metrics_are_closed(
    service: tuple[Path, int, int], front: tuple[Front, int], headers: dict[str, str]
) -> None:
    """A plain proxy_pass on the same machine made every request look local."""
    for path in (
        "/outbox",
        "/outbox/x",
        "/outbox/x/source",
        "/metrics",
        "/%6Futbox",
        "//metrics",
        "/./metrics",
    ):
        assert ask(front[1], path, **headers).status in (301, 308, 404), path
    assert ask(service[2], "/metrics").status == 200
    assert ask(service[2], "/outbox").status == 404


def test_the_etags_of_feeds_arrive_unchanged(
    service: tuple[Path, int, int], front: tuple[Front, int]
) -> None:
    for coding in ({}, {"Accept-Encoding": "gzip"}):
        direct, through = (ask(port, "/calendar.ics", **coding) for port in (service[1], front[1]))
        assert through.status == 200
        assert direct.headers["ETag"] == through.headers["ETag"] and not through.headers["ETag"].startswith(
            "W/"
        )
        assert direct.text == through.text  # type: ignore[attr-defined]
        known = ask(front[1], "/calendar.ics", If_None_Match=through.headers["ETag"], **coding)
        assert known.status == 304 and known.headers["ETag"] == through.headers["ETag"]


def test_what_another_site_sends_through_a_proxy_is_refused(front: tuple[Front, int]) -> None:
    assert want_link(front[1], 1, "127.0.0.2", Origin="https://evil.example.org") == 403
    assert want_link(front[1], 1, "127.0.0.2", Sec_Fetch_Site="cross-site") == 403


def test_a_request_that_the_proxy_leaves_unfinished_is_ended(service: tuple[Path, int, int]) -> None:
    with socket.create_connection(("127.0.0.1", service[1])) as half:
        half.sendall(b"GET / HTTP/1.1\r\n")
        half.settimeout(20)
        assert half.recv(100).startswith(b"HTTP/1.1 408")
