"""Third Thursday: a recurring online meeting, told to every member in their own time."""

import zoneinfo

# The tzdata package alone is the zone data: a system's own copy would win otherwise, and may be years old.
zoneinfo.reset_tzpath(())

__version__ = "1.0.0"
