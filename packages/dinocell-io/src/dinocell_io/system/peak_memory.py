"""How much memory this process has needed."""

import sys


def peak_rss_bytes() -> int | None:
    """Highest resident memory of this process so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource  # exists on POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
