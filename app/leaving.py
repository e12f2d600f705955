"""Whether this web process is about to end: what waits for long answers at once then."""

from __future__ import annotations

import threading

leaving = threading.Event()
"""Set once the process takes no further connection; browsers come back to another one."""
