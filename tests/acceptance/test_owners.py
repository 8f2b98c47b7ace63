"""Two gateways and one state directory: only one of them may ever write."""

import contextlib
import signal
from pathlib import Path

import anyio
import httpx2
import pytest

from tests.support.fake_engine import witness
from tests.support.gateway import fake, gateway


@pytest.mark.requirement("one-owner")
async def test_an_owner_that_wakes_after_a_takeover_ends_and_touches_nothing(
    tmp_path: Path,
) -> None:
    runtimes = {"a": fake("a", tmp_path)}
    state = {"state_dir": str(tmp_path / "state")}
    body = {"model": "a", "messages": [{"role": "user", "content": "[[tokens:2]]"}]}
    async with gateway({"runtimes": runtimes}, tmp_path) as first:
        await first.start()
        async with first.client() as client:
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        assert first.process is not None
        first.process.send_signal(signal.SIGSTOP)
        # What a person does who thinks that the first one is dead.
        await anyio.Path(tmp_path / "state" / "queue.lock").unlink()
        async with gateway({"runtimes": runtimes, **state}) as second:
            await second.start()
            async with second.client() as client:
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
                first.process.send_signal(signal.SIGCONT)
                with contextlib.suppress(httpx2.TransportError):  # it may end before we ask
                    async with first.client() as stale:
                        await stale.post("/v1/jobs", json=body)
                assert await first.died() == 1
                assert "took over" in first.log
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            assert await second.stop() == 0
        # One engine all along: adopted by the second, not stopped by the first.
        assert len(witness.lives(witness.read(first.witness))) == 1
