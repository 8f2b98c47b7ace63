"""The doctor's lines for people: aligned where there is room, broken between words where there is not."""

import textwrap
from collections.abc import Sequence

from local_model_gateway import phrases
from local_model_gateway.doctor.finding import Finding, Status
from local_model_gateway.doctor.plan import Step
from local_model_gateway.terminal import Terminal

_MARKS = {Status.OK: "✓", Status.NOTE: "!", Status.FAIL: "✗", Status.SKIP: "-"}
_COLORS = {Status.OK: "green", Status.NOTE: "yellow", Status.FAIL: "red", Status.SKIP: "dim"}
_LABEL = 9
_INDENT = 2 + _LABEL + 1
_GAP = 3
_NARROWEST = 40


def findings(found: Sequence[Finding], terminal: Terminal, width: int) -> str:
    """Every finding, ids in one column, and how many of them ask for something."""
    width = max(width, _NARROWEST)
    asking = [one for one in found if _asks(one)]
    # In one column where every id fits beside what was found; else each follows its own words.
    column = max((_INDENT + len(one.what) + _GAP for one in asking), default=0)
    if column + max((len(one.id) for one in asking), default=0) > width:
        column = 0
    lines = [line for one in found for line in _said(one, terminal, width, column)]
    return "\n".join([*lines, _total(asking)])


def plan(steps: Sequence[Step], terminal: Terminal) -> str:
    """What to run, numbered; commands are whole lines, so that they can be copied."""
    lines = []
    for number, step in enumerate(steps, 1):
        ids = ", ".join(dict.fromkeys(finding.id for finding in step.findings))
        remark = "   ask first" if step.needs_consent else "" if step.mends else "   shows the way"
        what = "; ".join(finding.what for finding in step.findings)
        lines += [f"{number}. {what}   {terminal.paint('dim', ids + remark)}"]
        lines += [f"   {step.command}"]
    return "\n".join(lines) or "nothing to do"


def _asks(finding: Finding) -> bool:
    return finding.status in {Status.NOTE, Status.FAIL}


def _said(finding: Finding, terminal: Terminal, width: int, column: int) -> list[str]:
    mark = terminal.paint(_COLORS[finding.status], _MARKS[finding.status])
    what, *more = _wrapped(finding.what, width)
    lines = [f"{mark} {finding.subject:{_LABEL}} {what}", *more]
    if not _asks(finding):
        return lines
    id_ = terminal.paint("dim", finding.id)
    taken = _INDENT + len(what) if not more else len(more[-1])
    # Beside what was found where it fits, else on a line of its own.
    if max(taken + _GAP, column) + len(finding.id) <= width:
        lines[-1] += " " * max(column - taken, _GAP) + id_
    else:
        lines.append(" " * _INDENT + id_)
    lines += [" " * _INDENT + line.strip() for line in _wrapped(finding.why, width)]
    if finding.fix is not None:
        word = "fix" if finding.fix.mends else "see"
        remark = terminal.paint("dim", "   (ask first)") if finding.needs_consent else ""
        lines.append(f"{' ' * _INDENT}{word}  {finding.fix.command}{remark}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of the text; all but the first are indented."""
    lines = textwrap.wrap(text, width - _INDENT, break_long_words=False, break_on_hyphens=False)
    return [line if not number else " " * _INDENT + line for number, line in enumerate(lines)]


def _total(asking: Sequence[Finding]) -> str:
    problems = sum(one.status is Status.FAIL for one in asking)
    notes = len(asking) - problems
    if not asking:
        return "All is well. Nothing was changed."
    said = f"{phrases.count(problems, 'problem')}, {phrases.count(notes, 'note')}. Nothing was changed."
    return f"{said} Steps in order: lmg doctor --fix-plan"
