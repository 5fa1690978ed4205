"""`make bench`: this project beside the usual senders, over one fast receiver, in turn; prints medians of ratios.

Machines are noisy, so only ratios within one round count. What a machine lacks (gcc, apt-get, npm, pip) is left out by
name. Everything fetched or built goes into a temporary folder.
"""

import argparse
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
Took = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sender:
    """One row of the table: how it is run against a port, to how many, and what kind of receiver it meets."""

    name: str
    command: Callable[[int, int], Sequence[str]]
    count: int
    pipelining: bool = True
    delay_ms: int = 0
    beside: str = "smtp-source, 20 sessions"


def build(folder: Path) -> Path:
    program = folder / "receiver"
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "receiver.c"], check=True)
    return program


@contextmanager
def receiving(program: Path, folder: Path, sender: Sender) -> Iterator[tuple[int, Path]]:
    """A receiver for one run; its port, and the file in which it notes what it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    book = folder / "taken"
    command = [program, str(port), book, str(int(sender.pipelining)), str(sender.delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield port, book
        finally:
            process.terminate()


def smtp_source(folder: Path) -> Path | None:
    """Postfix's own load generator, out of its package; the mail server itself is neither installed nor started."""
    if found := shutil.which("smtp-source"):
        return Path(found)
    if not quietly(["apt-get", "download", "postfix"], folder):
        return None
    package = next(folder.glob("postfix_*.deb"))
    subprocess.run(["dpkg", "-x", package, folder / "postfix"], check=True)
    os.environ["LD_LIBRARY_PATH"] = str(folder / "postfix/usr/lib/postfix")
    return folder / "postfix/usr/sbin/smtp-source"


def nodemailer(folder: Path) -> Path | None:
    shutil.copy(HERE / "nodemailer.js", folder)
    done = quietly(["npm", "install", "--silent", "--no-fund", "--no-audit", "nodemailer"], folder)
    return folder / "nodemailer.js" if done else None


def django(folder: Path) -> Path | None:
    python = folder / "django/bin/python"
    made = quietly([sys.executable, "-m", "venv", "django"], folder)
    return (
        python
        if made and quietly([str(python), "-m", "pip", "install", "--quiet", "django"], folder)
        else None
    )


def quietly(command: Sequence[str], folder: Path) -> bool:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def senders(folder: Path, members: int) -> Iterator[Sender]:
    """The rows, each after the one that it is compared with."""
    python, few = sys.executable, min(members, 1_000)

    def ours(*options: str) -> Callable[[int, int], Sequence[str]]:
        return lambda port, count: [python, str(HERE / "ours.py"), str(port), str(count), *options]

    def source(sessions: int) -> Callable[[int, int], Sequence[str]]:
        return lambda port, count: [
            str(postfix),
            "-s",
            str(sessions),
            "-d",
            "-N",
            "-l",
            "12800",
            "-m",
            str(count),
            "-f",
            "a@example.org",
            "-t",
            "m@example.org",
            f"127.0.0.1:{port}",
        ]

    if postfix := smtp_source(folder):
        yield Sender("smtp-source, 20 sessions", source(20), members)
    else:
        print("left out: smtp-source (needs apt-get and dpkg); ratios are to ours instead")
    many = ("--connections", "100")
    yield Sender("ours, 20 connections", ours(), members)
    yield Sender("ours, 100 connections", ours(*many), members)
    yield Sender("ours, 100, plain names", ours(*many, "--plain-names"), members)
    yield Sender(
        "ours, 100, as `serve` runs",
        lambda port, count: [python, str(HERE / "served.py"), str(port), str(count)],
        members,
    )
    yield Sender("ours, 100, an invitation", ours(*many, "--invitation"), members)
    yield Sender("ours, 100, no PIPELINING", ours(*many), members, pipelining=False)
    yield Sender("ours, 100, Ed25519 DKIM", ours(*many, "--dkim"), members)
    yield Sender("ours, 100, 5 ms more a commit", ours(*many, "--commit-ms", "5"), members)
    if postfix:
        yield Sender("smtp-source, 50, 20 ms away", source(50), members // 4, delay_ms=20)
    yield Sender(
        "ours, 50, 20 ms away",
        ours("--connections", "50"),
        members // 4,
        delay_ms=20,
        beside="smtp-source, 50, 20 ms away",
    )
    if script := nodemailer(folder):
        yield Sender(
            "nodemailer, pool of 10", lambda port, count: ["node", str(script), str(port), str(count)], few
        )
    else:
        print("left out: nodemailer (needs npm)")
    yield Sender("idiomatic Python, 10 connections", yardstick(python, "idiomatic"), few)
    if own := django(folder):
        yield Sender("Django", yardstick(str(own), "django"), few)
    else:
        print("left out: Django (needs pip)")


def yardstick(python: str, kind: str) -> Callable[[int, int], Sequence[str]]:
    return lambda port, count: [python, str(HERE / "yardsticks.py"), kind, str(port), str(count)]


def run(sender: Sender, program: Path, folder: Path) -> Took:
    """Seconds, CPU seconds and peak megabytes a run took; every message has to have arrived once."""
    with receiving(program, folder, sender) as (port, book):
        begun = time.perf_counter()
        process = subprocess.Popen(
            sender.command(port, sender.count), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        time.sleep(0.6)  # the receiver writes its book when it has been idle
    lines = book.read_text(errors="replace").splitlines()
    if status or len({line.split(" ")[0] for line in lines}) != sender.count or len(lines) != sender.count:
        raise SystemExit(f"{sender.name}: {len(lines)} of {sender.count} messages arrived, status {status}")
    if said.strip().startswith(b"{"):
        found: Took = json.loads(said)
        return found
    return {
        "sent": sender.count,
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


def commit_latency(folder: Path) -> float:
    """Milliseconds of a small commit, as the ledger makes them."""
    with sqlite3.connect(folder / "probe.sqlite", isolation_level=None) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE probe (value)"
        )
        taken = []
        for _ in range(200):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO probe VALUES (1)")
            begun = time.perf_counter()
            connection.execute("COMMIT")
            taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="WORD", help="only smtp-source and the rows whose name has this")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not shutil.which("gcc"):
            raise SystemExit("the receiver is written in C: install gcc")
        program, rows = build(folder), list(senders(folder, asked.members))
        if asked.only:
            rows = [rows[0], *(row for row in rows[1:] if asked.only in row.name)]
        print(
            f"{asked.members} members, {asked.rounds} rounds, a commit takes {commit_latency(folder):.2f} ms"
        )
        rounds: list[dict[str, Took]] = []
        for turn in range(asked.rounds):
            rounds.append({sender.name: run(sender, program, folder) for sender in rows})
            print(
                f"round {turn + 1}: ",
                *(f"{rate(took):.0f}" for took in rounds[-1].values()),
            )
    show(rows, rounds)


def show(rows: Sequence[Sender], rounds: Sequence[dict[str, Took]]) -> None:
    print("\n| sender | × what it stands beside | messages a second | CPU s per 1,000 | peak MB |")
    print("|---|---|---|---|---|")
    for row in rows:
        took = [one[row.name] for one in rounds]
        beside = [one.get(row.beside, one[rows[0].name]) for one in rounds]
        cells = (
            f"{statistics.median(rate(one) / rate(other) for one, other in zip(took, beside, strict=True)):.3g}",
            f"{statistics.median(map(rate, took)):.0f}",
            f"{statistics.median(one['cpu'] / one['sent'] * 1000 for one in took):.3f}",
            f"{statistics.median(one['megabytes'] for one in took):.0f}",
        )
        print(f"| {row.name} | {' | '.join(cells)} |")


def rate(took: Took) -> float:
    return took["sent"] / took["seconds"]


if __name__ == "__main__":
    main()
