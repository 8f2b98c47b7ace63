"""The fix plan: what to run, in which order, each command once; made from findings, and only ever read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local_model_gateway.doctor import catalogue
from local_model_gateway.doctor.finding import Finding, Status


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the findings that it is for."""

    command: str
    findings: tuple[Finding, ...]

    @property
    def mends(self) -> bool:
        """Whether it puts them right, rather than show what a person has to decide."""
        return all(finding.fix is not None and finding.fix.mends for finding in self.findings)

    @property
    def needs_consent(self) -> bool:
        """Whether somebody has to be asked first."""
        return any(finding.needs_consent for finding in self.findings)

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For programs."""
        return {
            "command": self.command,
            "ids": [finding.id for finding in self.findings],
            "what": [finding.what for finding in self.findings],
            "mends": self.mends,
            "needs_consent": self.needs_consent,
        }


def steps(findings: Sequence[Finding]) -> list[Step]:
    """In the order of the catalogue: what others rest on comes first."""
    made: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: catalogue.rank(one.id)):
        if finding.fix is not None and finding.status in {Status.FAIL, Status.NOTE}:
            made.setdefault(finding.fix.command, []).append(finding)
    return [Step(command, tuple(found)) for command, found in made.items()]
