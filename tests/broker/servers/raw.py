"""A server written by hand, for what no SDK does: pages, garbage, sloppy answers, changed descriptions.

The file named by the first argument holds its knobs as JSON and is read anew for every request.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

KNOBS = Path(sys.argv[1])


def knobs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KNOBS.read_text())
    return found


def tools(given: dict[str, Any]) -> list[dict[str, Any]]:
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    return [
        {
            "name": f"get_thing_{number}",
            "description": given.get("description", "Gets a thing."),
            "inputSchema": schema,
        }
        for number in range(given.get("tools", 1))
    ]


def listed(given: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    size, start = given.get("page", 1000), int(params.get("cursor") or 0)
    every = tools(given)
    answer: dict[str, Any] = {"tools": every[start : start + size]}
    if start + size < len(every):
        answer["nextCursor"] = str(start + size)
    if "ttl_ms" in given:
        answer["ttlMs"] = given["ttl_ms"]
    return answer


def called(given: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    if "ledger" in given:
        with Path(given["ledger"]).open("a") as file:
            file.write(f"called {params['name']}\n")
    if given.get("sloppy"):
        return {"content": "this should have been a list"}
    return {"content": [{"type": "text", "text": "y" * given.get("size", 2)}]}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    given = knobs()
    match method:
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "raw", "version": "0"},
            }
        case "tools/list":
            return listed(given, params)
        case "tools/call":
            return called(given, params)
    raise LookupError(method)


def main() -> None:
    given = knobs()
    print(given.get("stderr", ""), file=sys.stderr, flush=True)
    if "exit" in given:
        sys.exit(given["exit"])
    if given.get("hang"):
        time.sleep(600)
    for line in sys.stdin:
        message = json.loads(line)
        for number in range(knobs().get("garbage", 0)):
            print(f"debug print number {number} that belongs elsewhere {{", flush=True)
        if "id" not in message:
            continue
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            reply["result"] = answer(message["method"], message.get("params") or {})
        except LookupError as error:
            reply["error"] = {"code": -32601, "message": f"no method {error}"}
        if knobs().get("id_last"):
            reply["id"] = reply.pop("id")
            reply["jsonrpc"] = reply.pop("jsonrpc")
        print(json.dumps(reply), flush=True)
        if message["method"] == "tools/call" and knobs().get("announces"):
            changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
            print(json.dumps(changed), flush=True)


main()
