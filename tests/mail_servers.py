"""A real Dovecot and a real Postfix on loopback, each with its own folder, ports and processes, if they are installed.

Both want to start as root, and become users of their own.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trustme

from tests.postgres import free_loopback_port

PATIENCE = 20
PASSWORD = "pa:ss w/örd"
USER = "meetings@example.net"

_DOVECOT = """
protocols = imap lmtp
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
auth_verbose = yes
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = no
mail_location = {mail}
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
recipient_delimiter = +
lmtp_save_to_detail_mailbox = no
mail_fsync = never
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
  default_fields = home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
{more}
"""


def have_dovecot() -> bool:
    return os.geteuid() == 0 and Path("/usr/sbin/dovecot").exists() and Path("/usr/lib/dovecot/lmtp").exists()


def have_postfix() -> bool:
    return os.geteuid() == 0 and Path("/usr/sbin/postfix").exists()


def wait_for_port(port: int) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > ends:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


class Dovecot:
    """A Dovecot whose users have Maildirs. The folder is in /tmp, because others than root must reach it."""

    def __init__(
        self,
        *,
        users: Sequence[str] = (USER,),
        separator: str = "/",
        prefix: str = "",
        layout: str = "maildir:~/Maildir:LAYOUT=fs",
        more: str = "",
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="third-dovecot-"))
        self.folder.chmod(0o755)
        self.imap, self.imaps, self.lmtp = (free_loopback_port() for _ in range(3))
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        cert = self.authority.issue_cert("localhost")
        cert.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        (self.folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
        (self.folder / "users").write_text(
            "".join(f"{user}:{{PLAIN.HEX}}{PASSWORD.encode().hex()}::::::\n" for user in users)
        )
        (self.folder / "mail").mkdir()
        shutil.chown(self.folder / "mail", "mail", "mail")
        self._config = self.folder / "dovecot.conf"
        self._config.write_text(
            _DOVECOT.format(
                folder=self.folder,
                mail=layout,
                separator=separator,
                prefix=prefix,
                more=more,
                imap=self.imap,
                imaps=self.imaps,
                lmtp=self.lmtp,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Dovecot":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["/usr/sbin/dovecot", "-F", "-c", self._config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port in (self.imap, self.imaps, self.lmtp):
            wait_for_port(port)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def doveadm(self, *arguments: str) -> str:
        return subprocess.run(
            ["doveadm", "-c", self._config, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout

    def deliver(self, *messages: bytes, user: str = USER) -> None:
        """Put messages into a user's inbox, as a delivery agent does."""
        folder = self.folder / "mail" / user / "Maildir"
        for name in ("", "cur", "new", "tmp"):
            if not (folder / name).exists():
                (folder / name).mkdir(parents=True)
                for part in (folder / name, folder, folder.parent):
                    shutil.chown(part, "mail", "mail")
        for message in messages:
            self._delivered = getattr(self, "_delivered", 0) + 1
            path = folder / "tmp" / f"{time.time():.6f}.{self._delivered}.test"
            path.write_bytes(message)
            shutil.chown(path, "mail", "mail")
            path.rename(folder / "new" / path.name)

    def count(self, folder: str, *, user: str = USER) -> int:
        """Return how many messages a folder holds; 0 if it does not exist."""
        with suppress(subprocess.CalledProcessError):
            answer = self.doveadm("mailbox", "status", "-u", user, "messages", folder)
            return int(answer.rpartition("messages=")[2])
        return 0

    @property
    def log(self) -> str:
        return (self.folder / "dovecot.log").read_text()


_MASTER = """
{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.net
mydestination =
local_recipient_maps =
smtpd_reject_unlisted_recipient = no
smtpd_recipient_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
recipient_delimiter = +
smtp_dns_support_level = disabled
transport_maps = inline:{{ {transports} }}
lmtp_destination_recipient_limit = 50
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""


class Postfix:
    """A Postfix that passes mail on over LMTP: to where `transports` says for a domain."""

    def __init__(self, transports: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="third-postfix-"))
        self.folder.chmod(0o755)
        self.port = free_loopback_port()
        config = self.folder / "config"
        for folder in (config, self.folder / "queue", self.folder / "data"):
            folder.mkdir()
        shutil.chown(self.folder / "data", "postfix", "postfix")
        (config / "master.cf").write_text(_MASTER.format(port=f"127.0.0.1:{self.port}"))
        pairs = ", ".join(f"{{{domain} = {target}}}" for domain, target in transports.items())
        (config / "main.cf").write_text(_MAIN.format(folder=self.folder, transports=pairs))
        self._config = config

    def __enter__(self) -> "Postfix":
        self._run("start")
        wait_for_port(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._run("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command: str) -> None:
        ended = subprocess.run(
            ["/usr/sbin/postfix", "-c", self._config, command],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
        )
        assert ended.returncode == 0, ended.stderr + ended.stdout

    @property
    def log(self) -> str:
        return (self.folder / "postfix.log").read_text()
