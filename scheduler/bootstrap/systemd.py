"""Tell systemd that the service is ready, works and stops: sd_notify(3), the protocol of `Type=notify`."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

log = structlog.get_logger()


class SystemdNotifier:
    """Sends notifications to the socket in NOTIFY_SOCKET; without that variable, it does nothing.

    `watchdog_seconds` is how long systemd waits for a sign of life before it restarts the service; 0 means forever.
    """

    def __init__(self, environment: Mapping[str, str], *, pid: int) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # the abstract namespace
            self._address = f"\0{self._address[1:]}"
        is_for_us = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = environment.get("WATCHDOG_USEC", "") if is_for_us else ""
        self.watchdog_seconds = int(microseconds) / 1_000_000 if microseconds.isdecimal() else 0.0

    def ready(self) -> None:
        """Say that the start is complete."""
        self._notify("READY=1")

    def stopping(self) -> None:
        """Say that the service is stopping."""
        self._notify("STOPPING=1")

    async def keep_watchdog(self, is_working: Callable[[], bool]) -> None:
        """Say twice in each watchdog interval that the service works, while `is_working` says so.

        Run it in the event loop that does the work: when that hangs, nothing is sent.
        """
        if not (self._address and self.watchdog_seconds):
            return
        was_working = True
        while True:
            works = is_working()
            if works:
                self._notify("WATCHDOG=1")
            elif was_working:
                log.error("not-working", restart="by the watchdog")
            was_working = works
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _notify(self, state: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen must not disturb the service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), self._address)


def systemd_notifier() -> SystemdNotifier:
    """Return the notifier for this process."""
    return SystemdNotifier(os.environ, pid=os.getpid())
