"""The command line: reads options, calls the service, and prints the answer. It decides nothing itself."""

from scheduler.cli.app import main

__all__ = ["main"]
