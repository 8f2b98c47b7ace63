"""`lmg jobs`: stored work, which outlives its client and the gateway."""

import argparse
import json
import urllib.parse

from local_model_gateway import client, errors
from local_model_gateway.terminal import Terminal

HEADER = ("ID", "MODEL", "STATE", "CREATED", "TRIES", "WHY")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="ls", choices=("ls", "show", "cancel"))
    parser.add_argument("id", nargs="?", metavar="ID")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given)
    if given.action == "ls":
        jobs = gateway.get("/v1/jobs")["data"]
        rows = [
            (
                str(job["id"]),
                str(job["model"]),
                str(job["status"]),
                str(job["created_at"]),
                f"{job['attempts']}/{job['max_attempts']}",
                str((job.get("error") or {}).get("code", "")),
            )
            for job in jobs
        ]
        text = terminal.table(HEADER, rows) if rows else "no jobs"
        terminal.result("lmg.jobs/1", {"jobs": jobs}, text)
        return 0
    if given.id is None:
        raise errors.NoSuchThing(f"`lmg jobs {given.action}` needs an id; `lmg jobs` lists them")
    path = f"/v1/jobs/{urllib.parse.quote(given.id, safe='')}"
    job = gateway.get(path) if given.action == "show" else gateway.delete(path)
    text = json.dumps(job, indent=2, ensure_ascii=False) if given.action == "show" else job["said"]
    terminal.result(f"lmg.jobs.{given.action}/1", job, text)
    return 0
