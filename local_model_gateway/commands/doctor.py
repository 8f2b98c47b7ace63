"""`lmg doctor`: what is wrong, why, and what to run; changes nothing."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from local_model_gateway import client, errors, phrases
from local_model_gateway.doctor import examination
from local_model_gateway.doctor.finding import Finding, Status, fail, ok
from local_model_gateway.terminal import Terminal

_MARKS = {Status.OK: "✓", Status.NOTE: "!", Status.FAIL: "✗", Status.SKIP: "-"}
_COLORS = {Status.OK: "green", Status.NOTE: "yellow", Status.FAIL: "red", Status.SKIP: "dim"}
READY_S = 600.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fix-plan", action="store_true", help="only what to run, in order")
    parser.add_argument("--strict", action="store_true", help="notes count as problems")
    parser.add_argument("--quick", action="store_true", help="leave out what needs to be asked for")
    parser.add_argument(
        "--try", dest="model", metavar="MODEL", help="also ask this model something"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    subject = examination.case(given, quick=given.quick)
    terminal.progress("looking")
    findings = examination.examine(subject)
    if given.model:
        terminal.progress(f"asking {given.model}")
        findings.append(_tried(given))
    status = examination.verdict(findings)
    problems = sum(finding.status is Status.FAIL for finding in findings)
    notes = sum(finding.status is Status.NOTE for finding in findings)
    content = {
        "status": str(status),
        "problems": problems,
        "notes": notes,
        "checks": [{**asdict(finding), "doc": finding.doc} for finding in findings],
        "fix_plan": [finding.fix for finding in _plan(findings)],
    }
    if given.fix_plan:
        text = "\n".join(_steps(findings)) or "nothing to do"
    else:
        text = "\n".join(
            [*(_said(finding, terminal) for finding in findings), _total(problems, notes)]
        )
    terminal.result("lmg.doctor/1", content, text)
    return 1 if problems or (given.strict and notes) else 0


def _tried(given: argparse.Namespace) -> Finding:
    """One short question through the queue: nothing less shows that a model works."""
    body = {
        "model": given.model,
        "messages": [{"role": "user", "content": "Say hello"}],
        "max_tokens": 4,
    }
    try:
        client.find(given).post("/v1/chat/completions", body, timeout_s=READY_S)
    except errors.GatewayError as error:
        fix = f"lmg logs --source {given.model}"
        return fail("MODEL-SILENT", "Models", f"{given.model} did not answer", str(error), fix)
    return ok("MODEL-ANSWERS", "Models", f"{given.model} answers")


def _plan(findings: Sequence[Finding]) -> list[Finding]:
    """What has a fix, problems before notes, each command once."""
    fixable = [one for one in findings if one.fix and one.status in {Status.FAIL, Status.NOTE}]
    ordered = sorted(fixable, key=lambda one: one.status is not Status.FAIL)
    return list({one.fix: one for one in reversed(ordered)}.values())[::-1]


def _steps(findings: Sequence[Finding]) -> list[str]:
    return [
        f"{number}. {finding.what}   {finding.id}\n   {finding.fix}"
        for number, finding in enumerate(_plan(findings), 1)
    ]


def _said(finding: Finding, terminal: Terminal) -> str:
    mark = terminal.paint(_COLORS[finding.status], _MARKS[finding.status])
    line = f"{mark} {finding.subject:9} {finding.what}"
    if finding.status in {Status.OK, Status.SKIP}:
        return line
    line = f"{line}   {terminal.paint('dim', finding.id)}"
    line += f"\n            {finding.why}" if finding.why else ""
    return line + (f"\n            fix  {finding.fix}" if finding.fix else "")


def _total(problems: int, notes: int) -> str:
    if not problems and not notes:
        return "All is well. Nothing was changed."
    said = f"{phrases.count(problems, 'problem')}, {phrases.count(notes, 'note')}. Nothing was changed."
    return f"{said} Steps in order: lmg doctor --fix-plan"
