"""Hostile web clients, in a process of their own: run with `KIND COUNT PORT`, until it is terminated.

The kinds: `idle` connects and sends nothing; `trickle` sends a header one byte at a time; `endless` sends a header of
200 MB; `slow` requests pages and does not read them; `flood` requests a thousand pages at once; `busy` requests one
page after the other. A client that is disconnected connects again. On SIGTERM, print how many complete responses came.
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


async def client(kind: str, port: int) -> None:
    """Run one client, which connects again and again."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await KINDS[kind](reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(0.05)


async def main(kind: str, count: int, port: int) -> None:
    os.nice(10)  # real clients would not use the CPU of our machine
    crowd = [asyncio.create_task(client(kind, port)) for _ in range(count)]
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    await terminated.wait()
    print(answered, flush=True)  # noqa: T201 - the result
    for task in crowd:
        task.cancel()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
