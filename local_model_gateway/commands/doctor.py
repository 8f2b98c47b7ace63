"""`lmg doctor`: what is wrong, why, and what to run; changes nothing."""

import argparse
import shlex
import shutil
import time
from typing import Any

from local_model_gateway import client, errors, phrases
from local_model_gateway.doctor import examination, plan, report
from local_model_gateway.doctor.finding import Finding, Status, fail, ok, show
from local_model_gateway.terminal import Terminal

READY_S = 600.0
WIDTH = 100
"""Where nobody says how wide the paper is."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fix-plan", action="store_true", help="only what to run, in order")
    parser.add_argument("--strict", action="store_true", help="notes count as problems")
    parser.add_argument("--quick", action="store_true", help="leave out what needs to be asked for")
    parser.add_argument(
        "--try", dest="model", metavar="MODEL", help="also ask this model something"
    )


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    terminal.progress("looking")
    findings = examination.looked(given, quick=given.quick)
    if given.model:
        terminal.progress(f"asking {given.model}")
        findings.append(_tried(given))
    problems = sum(finding.status is Status.FAIL for finding in findings)
    notes = sum(finding.status is Status.NOTE for finding in findings)
    steps = plan.steps(findings)
    content = {
        "status": str(examination.verdict(findings)),
        "problems": problems,
        "notes": notes,
        "checks": [finding.as_json() for finding in findings],
        "fix_plan": [step.as_json() for step in steps],
    }
    if given.fix_plan:
        text = report.plan(steps, terminal)
    else:
        width = shutil.get_terminal_size((WIDTH, 24)).columns
        text = report.findings(findings, terminal, width)
    terminal.result("lmg.doctor/1", content, text)
    return 1 if problems or (given.strict and notes) else 0


def _tried(given: argparse.Namespace) -> Finding:
    """One short question through the queue: nothing less shows that a model works."""
    body = {
        "model": given.model,
        "messages": [{"role": "user", "content": "Say hello"}],
        "max_tokens": 4,
    }
    fix = show(f"lmg logs --source {shlex.quote(given.model)}")
    began = time.monotonic()
    try:
        answer = client.find(given).post("/v1/chat/completions", body, timeout_s=READY_S)
    except errors.GatewayError as error:
        return fail("MODEL-SILENT", "Models", f"{given.model} did not answer", str(error), fix)
    if not _words(answer):
        why = "The answer was complete and empty; its chat template or its file may be broken."
        return fail("MODEL-SILENT", "Models", f"{given.model} said nothing", why, fix)
    took = phrases.span(time.monotonic() - began)
    return ok("MODEL-ANSWERS", "Models", f"{given.model} answers, after {took}")


def _words(answer: Any) -> str:  # Any: JSON
    """What it said, thoughts included."""
    try:
        message = answer["choices"][0]["message"]
        return "".join(str(message.get(key) or "") for key in ("content", "reasoning_content"))
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""
