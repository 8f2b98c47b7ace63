"""The steps at which a test may kill a process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REACH = """
from coordinator import failpoints
for n in range(5):
    failpoints.reach("other")
    failpoints.reach("here")
    print(n, flush=True)
"""


@pytest.mark.parametrize(
    ("crash_at", "lived"), [("here", 0), ("here:3", 2), ("nowhere", 5), ("", 5), ("here:9", 5)]
)
def test_a_process_dies_at_the_step_it_is_told_and_nowhere_else(crash_at: str, lived: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", REACH], cwd=ROOT, env={"LMG_CRASH_AT": crash_at},
        capture_output=True, check=False, timeout=30,
    )  # fmt: skip
    assert ran.stdout.split() == [str(n).encode() for n in range(lived)]
    assert ran.returncode == (0 if lived == 5 else -signal.SIGKILL)
