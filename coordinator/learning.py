"""What loads and answers taught: the times that the forecast is made of, kept in the store."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator import changes, forecast, messages, rows, store

SAMPLES = 20
"""Enough for a spread, few enough to follow a driver update within a day."""


def _samples() -> "deque[float]":
    return deque(maxlen=SAMPLES)


@dataclass(slots=True, eq=False)
class _Taught:
    load_s: "deque[float]" = field(default_factory=_samples)
    run_s: "deque[float]" = field(default_factory=_samples)
    prefill: "deque[float]" = field(default_factory=_samples)
    decode: "deque[float]" = field(default_factory=_samples)
    footprint_bytes: int | None = None


class Lessons:
    """The newest samples of each runtime."""

    def __init__(self, store_: store.Store) -> None:
        self._store = store_
        self._taught: dict[str, _Taught] = {}

    def recall(self, learned: Mapping[str, rows.LearnedRow]) -> None:
        """Begin with what earlier gateways learned."""
        for name, row in learned.items():
            taught = self._of(name)
            taught.load_s.extend(row.load_s)
            taught.run_s.extend(row.run_s)
            taught.prefill.extend(row.prefill_tokens_per_s)
            taught.decode.extend(row.decode_tokens_per_s)
            taught.footprint_bytes = max(row.footprint_bytes.values(), default=None)

    def loaded(self, runtime: str, load_s: float, footprint_bytes: int | None) -> None:
        """A load ended well."""
        taught = self._of(runtime)
        taught.load_s.append(load_s)
        taught.footprint_bytes = footprint_bytes
        self._store.note(
            changes.Learned(runtime, time.time(), load_s=load_s, footprint_bytes=footprint_bytes)
        )

    def answered(self, runtime: str, run_s: float, outcome: messages.Outcome) -> None:
        """An answer was complete."""
        taught = self._of(runtime)
        prefill = decode = None
        first_s = None if not outcome.first_token_ms else outcome.first_token_ms / 1000
        if first_s is not None and outcome.prompt_tokens:
            prefill = outcome.prompt_tokens / first_s
            taught.prefill.append(prefill)
        if first_s is not None and outcome.output_tokens and run_s > first_s:
            decode = outcome.output_tokens / (run_s - first_s)
            taught.decode.append(decode)
        taught.run_s.append(run_s)
        self._store.note(
            changes.Learned(
                runtime,
                time.time(),
                prefill_tokens_per_s=prefill,
                decode_tokens_per_s=decode,
                run_s=run_s,
            )
        )

    def footprint_bytes(self, runtime: str) -> int | None:
        """What it held after its last load."""
        return self._of(runtime).footprint_bytes

    def rates(self) -> Mapping[str, forecast.Rates]:
        """For the forecast."""
        return {
            name: forecast.Rates(
                load_s=tuple(taught.load_s),
                run_s=tuple(taught.run_s),
                prefill_tokens_per_s=tuple(taught.prefill),
                decode_tokens_per_s=tuple(taught.decode),
            )
            for name, taught in self._taught.items()
        }

    def typical_run_s(self, runtime: str) -> float | None:
        """The median answer; None until there was one."""
        return _median(self._of(runtime).run_s)

    def typical_load_s(self, runtime: str) -> float | None:
        """The median load; None until there was one."""
        return _median(self._of(runtime).load_s)

    def typical_tokens_per_s(self, runtime: str) -> float | None:
        """The median speed of writing; None until there was an answer."""
        return _median(self._of(runtime).decode)

    def _of(self, runtime: str) -> _Taught:
        taught = self._taught.get(runtime)
        if taught is None:
            taught = self._taught[runtime] = _Taught()
        return taught


def _median(samples: "deque[float]") -> float | None:
    ordered = sorted(samples)
    return ordered[len(ordered) // 2] if ordered else None
