"""From `lmg up` on a machine without any state to the first token of the built-in model."""

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.gateway import ROOT, free_port

ROUNDS = 5


def main() -> None:
    """Print median and worst, in seconds."""
    seconds = [first_token() for _ in range(ROUNDS)]
    print(f"median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s of {ROUNDS}")


def first_token() -> float:
    """One gateway's life: nothing there, started, asked, stopped."""
    with tempfile.TemporaryDirectory(prefix="lmg-first-") as folder:
        home, port = Path(folder), free_port()
        config = home / "config.yaml"
        config.write_text(f"version: 1\nserver: {{port: {port}}}\nstate_dir: {home}/state\n")
        config.chmod(0o600)
        begun = time.perf_counter()
        gateway = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "local_model_gateway",
                "up",
                "--yes",
                "--foreground",
                "--config",
                str(config),
            ],
            cwd=ROOT,
            env={**os.environ, "HOME": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            token(port)
            return time.perf_counter() - begun
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(60)


def token(port: int) -> None:
    """Ask until it listens, then wait for the first piece of text."""
    body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(
                "POST",
                "/v1/chat/completions",
                json.dumps(body),
                {"content-type": "application/json"},
            )
            answer = connection.getresponse()
            while line := answer.readline():
                if b'"content":"' in line.replace(b" ", b""):
                    return
        except ConnectionError:
            time.sleep(0.01)
        finally:
            connection.close()


if __name__ == "__main__":
    main()
