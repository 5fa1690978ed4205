"""So that `python -m scheduler` is the `third-thursday` command."""

from scheduler.cli import main

if __name__ == "__main__":
    main()
