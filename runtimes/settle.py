"""When the memory of an engine that ended is back: a pure decision over readings of free memory.

An engine that is gone has not given its memory back yet: the kernel and the driver take up to seconds, at
first perhaps without any visible change. Waiting for a plateau alone is wrong both ways: slow reclaim looks
flat between two close readings, and before it begins everything is flat.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

SAMPLE_S = 0.15
SAMPLES = 3  # one flat reading happens by chance on a busy machine; three in a row did not
FLAT_S = 0.4  # enough when most of it is back, or free memory is where it was before the load
PATIENT_S = 3.0  # with little of it back yet: reclaim was seen to begin more than a second late
MOST = 0.75  # the share after which a flat reading is believed quickly; the rest is noise of other programs
TOLERANCE_BYTES = 256 << 20
TOLERANCE_SHARE = 0.02
RISING_SHARE = 0.005  # of what is expected, a second
RISING_BYTES = (
    64 << 20,
    256 << 20,
)  # a second: other programs free as much in passing; no reclaim is slower


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading."""

    at_s: float
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for."""

    expected_bytes: int | None
    """What the engine held, as learned at its load."""
    baseline_bytes: int | None
    """What was free before that load."""
    cap_s: float


class Verdict(enum.Enum):
    """What the readings so far say."""

    WAIT = enum.auto()
    BACK = enum.auto()
    """It is all there."""
    FLAT = enum.auto()
    """No more is coming: the engine is gone and nothing rises."""
    CAPPED = enum.auto()
    """It was still rising, or the engine still there, when patience ended."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the wait ended; what follows from it is the caller's decision."""

    verdict: Verdict
    missing_bytes: int
    expected_bytes: int | None

    def __str__(self) -> str:
        """`11 of 80 GiB back`."""
        if self.expected_bytes is None:
            return "memory is flat; what was expected is not known"
        gib = 1 << 30
        back = max(0, self.expected_bytes - self.missing_bytes)
        return f"{back / gib:.1f} of {self.expected_bytes / gib:.1f} GiB back"


def judge(samples: Sequence[Sample], goal: Goal, gone: bool) -> Settled:
    """Decide on the readings since the stop, oldest first; `gone` when no process of the engine is left."""
    if not samples:
        return Settled(Verdict.WAIT, goal.expected_bytes or 0, goal.expected_bytes)
    return Settled(_verdict(samples, goal, gone), missing(samples, goal), goal.expected_bytes)


def missing(samples: Sequence[Sample], goal: Goal) -> int:
    """What is not back, within tolerance; 0 where nothing is known to be missing."""
    now = samples[-1].free_bytes
    gaps = []
    if goal.baseline_bytes is not None:
        gaps.append(goal.baseline_bytes - now)
    if goal.expected_bytes is not None:
        gaps.append(goal.expected_bytes - (now - samples[0].free_bytes))
    # Whichever of the two shows more of it back is right: the other one was disturbed, by another
    # resident that came or went since the load, or by what came back before the first reading.
    gap = max(0, min(gaps)) if gaps else 0
    if goal.expected_bytes is not None:
        gap = min(gap, goal.expected_bytes)
    return 0 if gap <= tolerance(goal) else gap


def tolerance(goal: Goal) -> int:
    """How much of a difference is other programs' doing."""
    return max(TOLERANCE_BYTES, int((goal.expected_bytes or 0) * TOLERANCE_SHARE))


def _verdict(samples: Sequence[Sample], goal: Goal, gone: bool) -> Verdict:
    risen = samples[-1].free_bytes - samples[0].free_bytes
    if goal.expected_bytes and risen >= goal.expected_bytes - tolerance(goal):
        return Verdict.BACK
    gap = missing(samples, goal)
    # Where it was before the load; but that may have been another load ago, so it has to be quiet as well.
    there = goal.baseline_bytes is not None and gap == 0
    if there and flat(samples, goal, FLAT_S):
        return Verdict.BACK
    mostly = goal.expected_bytes is not None and gap <= goal.expected_bytes * (1 - MOST)
    if gone and flat(samples, goal, FLAT_S if mostly else PATIENT_S):
        return Verdict.FLAT
    if samples[-1].at_s - samples[0].at_s >= goal.cap_s:
        return Verdict.CAPPED
    return Verdict.WAIT


def flat(samples: Sequence[Sample], goal: Goal, window_s: float) -> bool:
    """Whether free memory has not been rising for so long, by its slope in bytes a second."""
    newest = samples[-1].at_s
    window = [each for each in samples if each.at_s >= newest - window_s - SAMPLE_S / 2]
    if len(window) < SAMPLES or newest - window[0].at_s < window_s - SAMPLE_S / 2:
        return False
    least, most = RISING_BYTES
    limit = min(most, max(least, (goal.expected_bytes or 0) * RISING_SHARE))
    # A slow engine may rise only in its last moment, which a slope over seconds would not show.
    recent = window[-SAMPLES:]
    return slope(window) < limit and slope(recent) < limit


def slope(samples: Sequence[Sample]) -> float:
    """Bytes a second, by least squares: single readings jump."""
    count = len(samples)
    mean_t = sum(each.at_s for each in samples) / count
    mean_b = sum(each.free_bytes for each in samples) / count
    spread = sum((each.at_s - mean_t) ** 2 for each in samples)
    if spread <= 0:
        return 0.0
    return sum((each.at_s - mean_t) * (each.free_bytes - mean_b) for each in samples) / spread
