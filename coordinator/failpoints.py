"""Named steps at which a test may kill this process; nothing at all otherwise.

`LMG_CRASH_AT=NAME` kills at the first arrival at that step, `LMG_CRASH_AT=NAME:3` at the third. The kill
is the one that cannot be caught, so nothing is flushed, closed or said: what a power cut leaves, but for
what the operating system still writes.
"""

import itertools
import os
import signal

_name, _, _arrival = os.environ.get("LMG_CRASH_AT", "").partition(":")
_arrivals = itertools.count(1)
_fatal_arrival = int(_arrival or 1)


def reach(step: str) -> None:
    """Say that this step is reached; returns but in a process that was told to die here."""
    if step == _name and next(_arrivals) == _fatal_arrival:
        os.kill(os.getpid(), signal.SIGKILL)
