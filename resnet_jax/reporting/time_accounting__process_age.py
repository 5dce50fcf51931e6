"""How long this process has been there: what a user waits for begins before the first import."""

import os
import time
from pathlib import Path


def process_age() -> float:
    """Seconds since the system made this process, to a hundredth; where it does not say, as outside Linux, 0."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # the name before it may hold anything
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): field 22, in ticks since the system's start
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, ValueError):
        return 0.0
