"""From a bare Debian 12 to a service behind Caddy with TLS, by the commands of the documentation, under a real systemd.

The commands are taken from the pages, in their order. What differs from a person who follows them:

- The bare Debian is made by mmdebstrap, not by Debian's installer: `/etc/hosts` is written for it, and its network and
  kernel are this machine's. `apt-get update` runs first.
- apt-get is answered with yes. pip finds the wheels in a folder that this machine's pip has filled by the lock file.
- The questions of `setup` are answered with a relay on this machine, and with a domain that is not in the DNS.
- The Caddyfile has this community's name and one more line, `tls internal`: no public authority certifies example.org.
- `trusted_proxies` is written under the `[web]` that `setup` wrote, not under another one.
- Of the page about the first mail, only its fourth step is followed, as the service's user in its folder, and without
  `serve`, which systemd runs.
"""

import asyncio
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from scheduler import __version__
from tests.conftest import FORBIDDEN
from tests.delivery.receiver import Receiver
from tests.test_restarts import arrived, read

pytestmark = pytest.mark.proof

ROOT = Path(__file__).parents[1]
RELEASE = "bookworm"
SITE = "meet.choir.example.org"
PATIENCE = 300
SETTINGS = "/etc/third-thursday/third-thursday.toml"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, heading: str, language: str = "") -> list[str]:
    """Return the blocks in a language, or of commands, under a heading of a page."""
    _, _, section = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")
    assert section, f"{page} has no heading {heading}"
    section = section.partition("\n## ")[0]
    return [text for found, text in _BLOCK.findall(section) if found == language]


class Container:
    """A Debian in a folder, whose systemd runs in its own namespaces, but with this machine's network."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._log = folder / "boot"

    def make(self) -> None:
        """Install Debian from where this machine's apt does."""
        sources = subprocess.run(
            [
                *("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"),
                *("Created-By: Packages", f"Codename: {RELEASE}", "Origin: Debian"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        if not sources:
            pytest.skip(f"needs a machine whose apt knows Debian's {RELEASE}")
        subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", "--include=init,ca-certificates"),
                *(RELEASE, self.root),
            ],
            input=sources,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        (self.root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
                    *("--machine=bare-debian", f"--directory={self.root}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while "Reached target" not in self._log.read_text(errors="replace"):
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"{FORBIDDEN} a container with systemd: {self._log.read_text()[-300:]}")
            time.sleep(0.1)
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        self._leader = children[0]
        self.run("systemctl is-system-running --wait || true")

    def stop(self) -> None:
        if self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()

    def run(self, script: str, *, answers: Mapping[str, str] | None = None) -> str:
        """Run a script as root on a terminal, and return what was shown.

        A question is answered by what `answers` has for a part of it, or else by Enter.
        """
        terminal, of_script = os.openpty()
        process = subprocess.Popen(
            [
                *("nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--root"),
                *("setsid", "--ctty", "--wait"),
                *("env", "-i", "HOME=/root", "TERM=dumb", f"PATH={os.defpath}:/usr/sbin:/sbin"),
                *("LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "bash", "-e", "-c", f"cd\n{script}"),
            ],
            stdin=of_script,
            stdout=of_script,
            stderr=of_script,
        )
        os.close(of_script)
        shown, answered = "", 0
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                try:
                    shown += os.read(terminal, 65_536).decode("utf-8", "replace").replace("\r\n", "\n")
                except OSError:  # the other side is closed
                    break
            question = shown[answered:].rpartition("\n")[2]
            if answers is not None and re.search(r"\?( \[.*\]:?)? $", question):
                answer = next((text for part, text in answers.items() if part in question), "")
                os.write(terminal, f"{answer}\n".encode())
                answered = len(shown)
        os.close(terminal)
        code = process.wait(PATIENCE)
        assert code == 0, f"{script}\nended with {code}:\n{shown}"
        return shown


@pytest.fixture
def debian(tmp_path: Path, program: Callable[[str], str]) -> Iterator[Container]:
    """A bare Debian that has been started, with our wheel in root's home folder."""
    for name in ("mmdebstrap", "systemd-nspawn", "nsenter"):
        program(name)
    if os.geteuid():
        pytest.skip("needs root")
    for port in (80, 443, 2019, 8000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"needs port {port} of this machine")
    container = Container(tmp_path)
    container.make()
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11")
    hatchling = (sys.executable, "-m", "hatchling", "build", "--target=wheel")
    for command in (
        (*pip, "--requirement=requirements.lock", f"--dest={container.root}/srv/wheels"),
        (*hatchling, f"--directory={container.root}/root"),
    ):
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    (container.root / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")
    (container.root / "etc" / "apt" / "apt.conf.d" / "yes").write_text('APT::Get::Assume-Yes "true";\n')
    try:
        container.start()
        yield container
    finally:
        container.stop()


def as_service(commands: str) -> str:
    """Return a script in which `third-thursday` is run as the installing page says."""
    (example,) = (block for block in blocks("installing.md", "systemd") if "runuser" in block)
    folder, _, command = example.replace("\\\n", " ").strip().removesuffix("status").partition(" && ")
    return f'{folder}\nthird-thursday() {{ {command} "$@"; }}\n{commands}'


def without(command: str, block: str) -> str:
    """Return a block of commands without one of them."""
    lines = block.splitlines()
    lines.remove(command)
    return "\n".join(lines)


def ask(port: int, path: str, *, authority: Path | None = None) -> HTTPResponse:
    """Send a request for the community's site to this machine; over TLS if there is an authority to trust."""
    channel = socket.create_connection(("127.0.0.1", port), timeout=30)
    if authority:
        context = ssl.create_default_context(cafile=str(authority))
        channel = context.wrap_socket(channel, server_hostname=SITE)
    connection = HTTPConnection(SITE)
    connection.sock = channel
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def set_up_proxy(debian: Container) -> Path:
    """Follow the page about proxies, and return the certificate of the authority that Caddy made."""
    install, reload, restart = blocks("security.md", "Behind a proxy")
    (caddyfile,) = blocks("security.md", "Behind a proxy", "caddyfile")
    (trusted,) = blocks("security.md", "Behind a proxy", "toml")
    debian.run(install)
    caddyfile = caddyfile.replace("meet.example.org {\n", f"{SITE} {{\n    tls internal\n")
    assert SITE in caddyfile
    (debian.root / "etc/caddy/Caddyfile").write_text(caddyfile)
    debian.run(reload)
    settings = debian.root / SETTINGS.removeprefix("/")
    settings.write_text(settings.read_text().replace("[web]\n", trusted))
    assert "trusted_proxies" in settings.read_text()
    debian.run(restart)
    return debian.root / "var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"


def install_service(debian: Container, relay: int) -> None:
    """Follow the page about installing, and start the service under systemd."""
    debian.run("apt-get update")
    (install,) = blocks("installing.md", "The program")
    assert f"third-thursday {__version__}" in debian.run(install)
    units, status = blocks("installing.md", "systemd")
    answers = {
        "community's name": "Choir",
        "mail sent?": "meetings@choir.example.org",
        "all the same?": "y",
        "relay's name": "127.0.0.1",
        "Its port?": str(relay),
        "user name": "-",
    }
    shown = debian.run(units, answers=answers)
    assert f"[https://{SITE}]" in shown and f"Wrote {SETTINGS}" in shown
    assert "all is well" in debian.run(status)
    assert debian.run("systemctl is-active third-thursday").strip() == "active"
    exposure = debian.run("systemd-analyze security --no-pager third-thursday")
    level = re.search(r"Overall exposure level for third-thursday.service: ([\d.]+)", exposure)
    assert level and float(level[1]) < 2


def send_first_mail(debian: Container) -> None:
    """Follow the page about the first mail, where systemd runs `serve`."""
    heading = "4. Send the first mail, to yourself"
    first, second = blocks("starting.md", heading)
    debian.run(as_service(without("third-thursday serve", first)))
    assert "sent" in debian.run(as_service(second), answers={"Send": "y"})


async def test_the_documentation_leads_from_a_bare_debian_to_a_service_behind_caddy(
    debian: Container,
) -> None:
    async with Receiver() as relay:
        await asyncio.to_thread(install_service, debian, relay.port)
        (test_mail,) = relay.taken
        assert "convenors@choir.example.org" in test_mail.rcpts[0]
        authority = await asyncio.to_thread(set_up_proxy, debian)
        for path in ("/", "/calendar.ics", "/healthz"):
            assert (await asyncio.to_thread(ask, 443, path, authority=authority)).status == 200
        plain = await asyncio.to_thread(ask, 80, "/")
        assert (plain.status, plain.headers["Location"]) == (308, f"https://{SITE}/")
        await asyncio.to_thread(send_first_mail, debian)
        _, first = (read(taken) for taken in await arrived(relay, 2))
        assert (str(first["Subject"]), str(first["To"])) == ("Hello", "Ann <ann@example.org>")
        assert f"https://{SITE}/" in first.as_string()
