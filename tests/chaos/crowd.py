"""Clients that mean no good, in a process of their own: `KIND COUNT PORT`, until it is ended.

Kinds: `idle` connects and says nothing; `trickle` sends a header an octet at a time; `endless` sends a header of
200 MB; `slow` asks for pages and does not read them; `flood` asks for a thousand at once; `busy` asks for one page
after the other. Whoever is turned away comes again. On SIGTERM it prints how many whole answers it got.
"""

import asyncio
import contextlib
import os
import signal
import sys

PAGES = ("/", "/calendar.ics", "/?zone=Asia/Kolkata", "/archive", "/subscribe")
HEADER = b"x" * 65_536
MEGABYTES = 200

answered = 0


async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    while not reader.at_eof():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.5)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    for _ in range(MEGABYTES * 1_000_000 // len(HEADER)):
        writer.write(HEADER)
        await writer.drain()


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in range(100):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
        await writer.drain()
        await asyncio.sleep(0.2)
    await asyncio.sleep(600)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
    await writer.drain()
    await reader.read()


async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global answered
    number = 0
    while True:
        number += 1
        writer.write(f"GET {PAGES[number % len(PAGES)]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        await reader.readexactly(size)
        answered += 1


KINDS = {"idle": idle, "trickle": trickle, "endless": endless, "slow": slow, "flood": flood, "busy": busy}


async def one(kind: str, port: int) -> None:
    """One client that comes again and again."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await KINDS[kind](reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(0.05)


async def main(kind: str, count: int, port: int) -> None:
    os.nice(10)  # they have machines of their own, and no share in ours
    crowd = [asyncio.create_task(one(kind, port)) for _ in range(count)]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    print(answered, flush=True)  # noqa: T201 - what it is for
    for client in crowd:
        client.cancel()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
