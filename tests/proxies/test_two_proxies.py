"""Caddy in front of nginx, and nginx in front of Caddy: one visitor is one visitor, whatever headers they forge.

All of it runs in a network namespace of its own, in which this machine has the addresses of the visitors, too.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import FORBIDDEN

pytestmark = [pytest.mark.proof, pytest.mark.short]

OUTER, INNER = "2001:db8:f::1", "2001:db8:f::2"
"""The addresses of the proxy that visitors reach and of the one behind it, which are not in a visitor's network."""
VISITORS = {
    chain: [*(f"2001:db8:{number}:2::{host}" for host in range(1, 5)), f"2001:db8:{number}:3::1"]
    for number, chain in enumerate(["caddy, nginx", "nginx, caddy"], 1)
}
"""For each chain of an outer and an inner proxy, four addresses of one /64 and one of another."""
PATH = f"{os.environ['PATH']}:/usr/sbin"

# The inner proxy is told which proxy to believe, as the manuals of both say.
NGINX = """
user root; daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen [{address}]:80;
    location / {{
      proxy_pass http://{behind};
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Forwarded "";
    }}
  }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http:// {{
    bind {address}
    reverse_proxy {behind} {{
        trusted_proxies {trusted}
        header_up -Forwarded
    }}
}}
"""

CLIENT = """
import json, sys, time
from contextlib import suppress
from http.client import HTTPConnection

def ask(server, visitor, path, form=None, headers={}):
    connection = HTTPConnection(*server, timeout=20, source_address=visitor and (visitor, 0))
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    connection.request("POST" if form else "GET", path, form, {**kind, **headers})
    return connection.getresponse().status

outer, requests = json.loads(sys.stdin.read())
ends = time.monotonic() + 60
for server in (("127.0.0.1", 8000), (outer, 80)):
    while time.monotonic() < ends:
        with suppress(OSError):
            if ask(server, None, "/healthz") == 200:
                break
        time.sleep(0.05)
print(json.dumps([
    ask((outer, 80), visitor, "/me", f"email=a{number}%40example.org", headers)
    for number, (visitor, headers) in enumerate(requests)
]))
"""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The start of a command that runs it in the namespace, in which a `serve` runs."""
    if os.geteuid():
        pytest.skip("needs to be root")
    if missing := [name for name in ("caddy", "nginx", "ip", "nsenter") if not shutil.which(name, path=PATH)]:
        pytest.skip(f"needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("service")
    # A connection to an address of this machine comes from that address, so the inner proxy sees INNER.
    (folder / "my.toml").write_text(f'[web]\ntrusted_proxies = ["127.0.0.1", "{INNER}"]\n')
    addresses = [OUTER, INNER, *(address for visitors in VISITORS.values() for address in visitors)]
    added = [f"ip -6 address add {address}/128 dev lo nodad" for address in addresses]
    make = " && ".join(["ip link set lo up", *added, "echo ready", "exec sleep 600"])
    with ExitStack() as stack:
        holder = stack.enter_context(_running(["unshare", "--net", "sh", "-c", make], folder))
        for _ in range(200):
            if (folder / "log").read_bytes() == b"ready\n":
                break
            if holder.poll() is not None:
                pytest.skip(f"{FORBIDDEN} a network namespace with IPv6")
            time.sleep(0.05)
        command = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        serve = [sys.executable, "-m", "scheduler", "--config", "my.toml", "serve"]
        stack.enter_context(_running([*command, *serve], folder))
        yield command


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PATH": PATH,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "PYTHONPATH": str(Path.cwd()),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _proxy(
    inside: list[str], program: str, folder: Path, *, address: str, behind: str, trusted: str
) -> Iterator[None]:
    folder = folder / program
    folder.mkdir()
    text = NGINX if program == "nginx" else CADDY
    (folder / "settings").write_text(
        text.format(folder=folder, address=address, behind=behind, trusted=trusted)
    )
    command = {
        "nginx": ["nginx", "-p", str(folder), "-c", str(folder / "settings")],
        "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", "settings"],
    }
    with _running([*inside, *command[program]], folder):
        yield


def statuses(inside: list[str], requests: list[tuple[str, dict[str, str]]]) -> list[int]:
    """Ask for a personal link from each of these addresses, with these headers."""
    ended = subprocess.run(
        [*inside, sys.executable, "-c", CLIENT],
        input=json.dumps([OUTER, requests]).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=90,
    )
    return list(json.loads(ended.stdout))


@pytest.mark.parametrize("chain", VISITORS)
def test_through_two_proxies_a_network_has_one_limit_and_forged_headers_give_it_no_more(
    inside: list[str], tmp_path: Path, chain: str
) -> None:
    outer, inner = chain.split(", ")
    *neighbours, stranger = VISITORS[chain]
    forged = [
        {},
        {"X-Forwarded-For": "203.0.113.{}"},
        {"Forwarded": "for=203.0.113.{}"},
        {"X-Forwarded-For": "203.0.113.{}", "Forwarded": 'for="[2001:db8:9:{}::1]"'},
        {"X-Forwarded-For": f"203.0.113.{{}}, 127.0.0.1, {INNER}"},
        {"X-Forwarded-For": "not an address"},
        {"Forwarded": f"for=127.0.0.1;by={INNER}", "X-Real-IP": "203.0.113.{}"},
    ]
    requests = [
        (
            neighbours[number % 4],
            {name: value.format(number) for name, value in forged[number % 7].items()},
        )
        for number in range(35)
    ]
    with (
        _proxy(inside, outer, tmp_path, address=OUTER, behind=f"[{INNER}]:80", trusted="192.0.2.1"),
        _proxy(inside, inner, tmp_path, address=INNER, behind="127.0.0.1:8000", trusted=INNER),
    ):
        assert statuses(inside, [*requests, (stranger, {})]) == [*[200] * 30, *[429] * 5, 200]
