"""`make bench`: compare this project with other senders over the same fast receiver, and print medians of ratios.

Machines are noisy, so only ratios within one round count. Senders that need a missing tool (apt-get, npm, pip) are left
out and named. Everything that is downloaded or built goes into a temporary folder.
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
Result = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sender:
    """One row of the table: the command for a port and a number of messages, the receiver's behaviour, and the row to
    compare with."""

    name: str
    command: Callable[[int, int], Sequence[str]]
    count: int
    pipelining: bool = True
    delay_ms: int = 0
    compared_with: str = "smtp-source, 20 sessions"


def build(folder: Path) -> Path:
    program = folder / "receiver"
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "receiver.c"], check=True)
    return program


@contextmanager
def receiving(program: Path, folder: Path, sender: Sender) -> Iterator[tuple[int, Path]]:
    """Run a receiver; yield its port, and the file in which it logs the messages."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "taken"
    command = [program, str(port), log, str(int(sender.pipelining)), str(sender.delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield port, log
        finally:
            process.terminate()


def smtp_source(folder: Path) -> Path | None:
    """Return the path of Postfix's load generator, from its Debian package. The mail server itself is not installed."""
    if path := shutil.which("smtp-source"):
        return Path(path)
    if not run_quietly(["apt-get", "download", "postfix"], folder):
        return None
    package = next(folder.glob("postfix_*.deb"))
    subprocess.run(["dpkg", "-x", package, folder / "postfix"], check=True)
    os.environ["LD_LIBRARY_PATH"] = str(folder / "postfix/usr/lib/postfix")
    return folder / "postfix/usr/sbin/smtp-source"


def nodemailer(folder: Path) -> Path | None:
    shutil.copy(HERE / "nodemailer.js", folder)
    installed = run_quietly(["npm", "install", "--silent", "--no-fund", "--no-audit", "nodemailer"], folder)
    return folder / "nodemailer.js" if installed else None


def django(folder: Path) -> Path | None:
    python = folder / "django/bin/python"
    venv_made = run_quietly([sys.executable, "-m", "venv", "django"], folder)
    return (
        python
        if venv_made and run_quietly([str(python), "-m", "pip", "install", "--quiet", "django"], folder)
        else None
    )


def run_quietly(command: Sequence[str], folder: Path) -> bool:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def senders(folder: Path, members: int) -> Iterator[Sender]:
    """Yield the rows, each after the one that it is compared with."""
    python, fewer = sys.executable, min(members, 1_000)

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
        print("left out: smtp-source (needs apt-get and dpkg); ratios are to our own first row instead")
    hundred_connections = ("--connections", "100")
    yield Sender("ours, 20 connections", ours(), members)
    yield Sender("ours, 100 connections", ours(*hundred_connections), members)
    yield Sender("ours, 100, plain names", ours(*hundred_connections, "--plain-names"), members)
    yield Sender(
        "ours, 100, as `serve` runs",
        lambda port, count: [python, str(HERE / "served.py"), str(port), str(count)],
        members,
    )
    yield Sender("ours, 100, an invitation", ours(*hundred_connections, "--invitation"), members)
    yield Sender("ours, 100, no PIPELINING", ours(*hundred_connections), members, pipelining=False)
    yield Sender("ours, 100, Ed25519 DKIM", ours(*hundred_connections, "--dkim"), members)
    yield Sender("ours, 100, 5 ms more a commit", ours(*hundred_connections, "--commit-ms", "5"), members)
    if postfix:
        yield Sender("smtp-source, 50, 20 ms away", source(50), members // 4, delay_ms=20)
    yield Sender(
        "ours, 50, 20 ms away",
        ours("--connections", "50"),
        members // 4,
        delay_ms=20,
        compared_with="smtp-source, 50, 20 ms away",
    )
    if script := nodemailer(folder):
        yield Sender(
            "nodemailer, pool of 10", lambda port, count: ["node", str(script), str(port), str(count)], fewer
        )
    else:
        print("left out: nodemailer (needs npm)")
    yield Sender("idiomatic Python, 10 connections", yardstick(python, "idiomatic"), fewer)
    if own := django(folder):
        yield Sender("Django", yardstick(str(own), "django"), fewer)
    else:
        print("left out: Django (needs pip)")


def yardstick(python: str, kind: str) -> Callable[[int, int], Sequence[str]]:
    return lambda port, count: [python, str(HERE / "yardsticks.py"), kind, str(port), str(count)]


def run(sender: Sender, program: Path, folder: Path) -> Result:
    """Run a sender and return seconds, CPU seconds and peak megabytes. Every message has to arrive exactly once."""
    with receiving(program, folder, sender) as (port, log):
        begun = time.perf_counter()
        process = subprocess.Popen(
            sender.command(port, sender.count), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        time.sleep(0.6)  # the receiver writes its log when it is idle
    lines = log.read_text(errors="replace").splitlines()
    if status or len({line.split(" ")[0] for line in lines}) != sender.count or len(lines) != sender.count:
        raise SystemExit(f"{sender.name}: {len(lines)} of {sender.count} messages arrived, status {status}")
    if output.strip().startswith(b"{"):
        result: Result = json.loads(output)
        return result
    return {
        "sent": sender.count,
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }


def commit_latency(folder: Path) -> float:
    """Return the median milliseconds of a small commit with synchronous=FULL."""
    with sqlite3.connect(folder / "probe.sqlite", isolation_level=None) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE probe (value)"
        )
        durations = []
        for _ in range(200):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO probe VALUES (1)")
            begun = time.perf_counter()
            connection.execute("COMMIT")
            durations.append((time.perf_counter() - begun) * 1000)
    return statistics.median(durations)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", metavar="WORD", help="run only smtp-source and the rows whose name contains WORD"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not shutil.which("gcc"):
            raise SystemExit("the receiver is written in C; install gcc")
        program, rows = build(folder), list(senders(folder, arguments.members))
        if arguments.only:
            rows = [rows[0], *(row for row in rows[1:] if arguments.only in row.name)]
        print(
            f"{arguments.members} members, {arguments.rounds} rounds, a commit takes {commit_latency(folder):.2f} ms"
        )
        rounds: list[dict[str, Result]] = []
        for number in range(arguments.rounds):
            rounds.append({sender.name: run(sender, program, folder) for sender in rows})
            print(
                f"round {number + 1}: ",
                *(f"{rate(result):.0f}" for result in rounds[-1].values()),
            )
    show(rows, rounds)


def show(rows: Sequence[Sender], rounds: Sequence[dict[str, Result]]) -> None:
    print("\n| sender | ratio | messages a second | CPU s per 1,000 | peak MB |")
    print("|---|---|---|---|---|")
    for row in rows:
        results = [results[row.name] for results in rounds]
        baselines = [results.get(row.compared_with, results[rows[0].name]) for results in rounds]
        ratios = [rate(result) / rate(base) for result, base in zip(results, baselines, strict=True)]
        cells = (
            f"{statistics.median(ratios):.3g}",
            f"{statistics.median(map(rate, results)):.0f}",
            f"{statistics.median(result['cpu'] / result['sent'] * 1000 for result in results):.3f}",
            f"{statistics.median(result['megabytes'] for result in results):.0f}",
        )
        print(f"| {row.name} | {' | '.join(cells)} |")


def rate(result: Result) -> float:
    return result["sent"] / result["seconds"]


if __name__ == "__main__":
    main()
