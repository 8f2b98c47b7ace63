"""`lmg jobs`: stored work, which outlives its client and the gateway."""

import argparse
import json
import urllib.parse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from local_model_gateway import client, errors, phrases
from local_model_gateway.commands import queue, status
from local_model_gateway.terminal import Terminal

HEADER = ("ID", "MODEL", "STATE", "CREATED", "TRIES", "WHY")
Job = dict[str, Any]  # Any: JSON


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="ls", choices=("ls", "show", "cancel"))
    parser.add_argument("id", nargs="?", metavar="ID", help="or how it begins")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    if given.action == "ls":
        jobs = gateway.get("/v1/jobs")["data"]
        text = terminal.table(HEADER, [_row(job) for job in jobs]) if jobs else "no jobs"
        terminal.result("lmg.jobs/1", {"jobs": jobs}, text)
        return 0
    if given.id is None:
        raise errors.Usage(f"`lmg jobs {given.action}` needs an id; `lmg jobs` lists them")
    known = (str(job["id"]) for job in gateway.get("/v1/jobs")["data"])
    path = f"/v1/jobs/{urllib.parse.quote(queue.whole_id(given.id, known), safe='')}"
    if given.action == "cancel":
        job = gateway.delete(path)
        terminal.result("lmg.jobs.cancel/1", job, str(job["said"]))
    else:
        job = gateway.get(path)
        terminal.result("lmg.jobs.show/1", job, "\n".join(_said(job)))
    return 0


def _row(job: Job) -> tuple[str, ...]:
    return (
        str(job["id"])[: queue.SHOWN_ID],
        str(job["model"]),
        str(job["status"]),
        _moment(job["created_at"]),
        f"{job['attempts']}/{job['max_attempts']}",
        str((job.get("error") or {}).get("code", "")),
    )


def _moment(text: str | None) -> str:
    """The clock on the wall here, as the log of a shell shows it."""
    if text is None:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _said(job: Job) -> Iterator[str]:
    yield f"{job['id']}   {job['model']}   {job['status']}"
    yield f"created {_moment(job['created_at'])}" + "".join(
        f", {word} {_moment(job[field])}"
        for word, field in (("started", "started_at"), ("ended", "ended_at"))
        if job[field]
    )
    if job.get("position"):
        eta = f", starts in {phrases.spread(job['eta_s'])}" if job.get("eta_s") else ""
        yield f"place {job['position']} in line, waits for {status.waits_for(job)}{eta}"
    if job["error"]:
        yield f"{job['error']['code']}: {job['error']['message']}"
    if took := list(_took(job)):
        yield " · ".join(took)
    if job.get("result") is not None:
        yield ""
        yield _text(job["result"])


def _took(job: Job) -> Iterator[str]:
    for word, field in (("queued", "queue_ms"), ("load", "load_ms")):
        if job[field] is not None:
            yield f"{word} {job[field] / 1000:.1f} s"
    if job["first_token_ms"] is not None:
        yield f"first token {job['first_token_ms'] / 1000:.1f} s"
    if job["output_tokens"] is not None:
        yield phrases.count(job["output_tokens"], "token")


def _text(result: Any) -> str:
    """What a model said; anything else as it came."""
    try:
        choice = result["choices"][0]
        said = choice["message"]["content"] if "message" in choice else choice["text"]
    except (LookupError, TypeError):
        said = None
    return said if isinstance(said, str) else json.dumps(result, indent=2, ensure_ascii=False)
