"""From `lmg up` on a machine where it never ran to the first token that `lmg run` prints, looking around included."""

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from tests.support import private_network
from tests.support.gateway import ROOT

ROUNDS = 5
LMG = shlex.join([sys.executable, "-m", "local_model_gateway"])


def main() -> None:
    """Print median and worst, in seconds."""
    seconds = [first_token() for _ in range(ROUNDS)]
    print(f"median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s of {ROUNDS}")


def first_token() -> float:
    """One gateway's life: nothing there, started, asked, stopped; on the default port of a network of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="lmg-first-") as home,
        private_network.made() as network,
    ):
        unset = {"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "LMG_CONFIG"}
        env = {name: value for name, value in os.environ.items() if name not in unset}
        env |= {"HOME": home, "PYTHONPATH": str(ROOT)}

        def shell(script: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [*network.enter, "sh", "-c", script],
                cwd=home,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

        begun = time.perf_counter()
        with shell(f"{LMG} up --yes >/dev/null && exec {LMG} run tiny Hello") as ran:
            assert ran.stdout is not None
            said = ran.stdout.read(1)
            taken = time.perf_counter() - begun
            said += ran.stdout.read()
        with shell(f"{LMG} down --drain 0s"):
            pass
        assert said, "the model said nothing"
        return taken


if __name__ == "__main__":
    main()
