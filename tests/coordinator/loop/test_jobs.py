"""Stored work: admitted once, run when its turn comes, ended once, kept over a restart."""

from pathlib import Path

import anyio
import pytest

from coordinator import errors, loop, state
from runtimes.upstream import Completion
from tests.coordinator.loop.harness import WITHIN_S, bench, spec


@pytest.mark.requirement("admitted-once")
async def test_a_job_runs_and_its_result_is_kept(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        here.engine.may_answer.set()
        submitted = await here.coordinator.submit(here.job("a", body=b'{"x":1}'))
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert job.item.state is state.WorkState.SUCCEEDED
        assert (job.item.prompt_tokens, job.item.output_tokens, job.item.attempts) == (3, 2, 1)
        assert job.result is not None
        assert (job.result.content, job.result.truncated) == (b'{"ok":1}', False)
        assert here.engine.asked == [("a", b'{"x":1}')]
        events = await here.coordinator.store.events(submitted.item.id)
        assert [event.after.value for event in events] == ["queued", "running", "succeeded"]


@pytest.mark.requirement("idempotent-submit")
async def test_fifty_submissions_with_one_key_are_one_job(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        here.engine.may_answer.set()
        ids: list[tuple[str, bool]] = []

        async def submit() -> None:
            done = await here.coordinator.submit(here.job("a", idempotency_key="k"))
            ids.append((done.item.id, done.joined))

        with anyio.fail_after(WITHIN_S):
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(submit)
        assert len({id_ for id_, _ in ids}) == 1
        assert [joined for _, joined in ids].count(False) == 1
        await here.coordinator.wait_for(ids[0][0], "me", WITHIN_S)
        again = await here.coordinator.submit(here.job("a", idempotency_key="k"))
        assert (again.item.id, again.joined) == (ids[0][0], True)
        assert len(here.engine.asked) == 1


@pytest.mark.requirement("idempotent-submit")
async def test_the_same_key_with_another_body_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        await here.coordinator.submit(here.job("a", idempotency_key="k"))
        with pytest.raises(errors.IdempotencyConflict):
            await here.coordinator.submit(here.job("a", idempotency_key="k", body=b'{"y":2}'))
        other = await here.coordinator.submit(here.job("a", idempotency_key="k", owner="them"))
        assert not other.joined


@pytest.mark.requirement("queue-survives-kill")
async def test_queued_jobs_keep_their_places_over_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        first = await here.coordinator.submit(here.job("a", body=b'{"n":0}'))
        await here.until(lambda: len(here.engine.asked) == 1)
        ids = [
            (await here.coordinator.submit(here.job("a", body=b'{"n":%d}' % n))).item.id
            for n in (1, 2, 3)
        ]
    async with bench(tmp_path, spec("a")) as here:
        here.engine.may_answer.set()
        for id_ in (first.item.id, *ids):
            job = await here.coordinator.wait_for(id_, "me", WITHIN_S)
            assert job.item.state is state.WorkState.SUCCEEDED
        assert [body for _, body in here.engine.asked] == [b'{"n":%d}' % n for n in range(4)]


@pytest.mark.requirement("cancel-frees-at-once")
async def test_cancelling_a_running_job_stops_the_engine(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        submitted = await here.coordinator.submit(here.job("a"))
        await here.until(lambda: len(here.engine.asked) == 1)
        outcome = await here.coordinator.cancel(submitted.item.id, "me", "a test")
        assert outcome == "stopped"
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert job.item.state is state.WorkState.CANCELLED
        assert here.engine.cut_off == 1


async def test_cancelling_the_wait_leaves_the_job_alone(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        submitted = await here.coordinator.submit(here.job("a"))
        await here.until(lambda: len(here.engine.asked) == 1)
        with anyio.move_on_after(0.05):
            await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        here.engine.may_answer.set()
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert job.item.state is state.WorkState.SUCCEEDED


async def test_an_engine_that_dies_gives_the_job_back_while_attempts_are_left(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, spec("a")) as here:
        submitted = await here.coordinator.submit(here.job("a", max_attempts=2))
        await here.until(lambda: len(here.engine.asked) == 1)
        here.lifecycles["a"].death.set()
        await here.until(lambda: len(here.engine.asked) == 2)
        here.engine.may_answer.set()
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert (job.item.state, job.item.attempts) == (state.WorkState.SUCCEEDED, 2)


async def test_a_job_whose_last_attempt_was_cut_off_fails_as_interrupted(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        submitted = await here.coordinator.submit(here.job("a", max_attempts=1))
        await here.until(lambda: len(here.engine.asked) == 1)
        here.lifecycles["a"].death.set()
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert (job.item.state, job.item.code) == (state.WorkState.FAILED, "interrupted")


async def test_an_engines_refusal_ends_the_job_with_its_words(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        here.engine.answers = lambda body: Completion(400, b'{"error":"too long"}')
        here.engine.may_answer.set()
        submitted = await here.coordinator.submit(here.job("a"))
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert (job.item.state, job.item.code) == (state.WorkState.FAILED, "upstream_error")
        assert job.result is not None
        assert job.result.content == b'{"error":"too long"}'


async def test_a_result_over_the_limit_is_cut_and_says_so(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a"), max_result_bytes=10) as here:
        here.engine.answers = lambda body: Completion(200, b"x" * 100)
        here.engine.may_answer.set()
        submitted = await here.coordinator.submit(here.job("a"))
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert job.result is not None
        assert (len(job.result.content), job.result.truncated) == (10, True)


async def test_a_job_for_a_runtime_that_is_configured_no_more_fails_in_the_open(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, spec("a"), spec("b")) as here:
        await here.coordinator.pause(True)
        submitted = await here.coordinator.submit(here.job("b"))
    async with bench(tmp_path, spec("a")) as here:
        job = await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
        assert (job.item.state, job.item.code) == (state.WorkState.FAILED, "model_not_found")


async def test_jobs_of_others_are_unknown(tmp_path: Path) -> None:
    async with bench(tmp_path, spec("a")) as here:
        submitted = await here.coordinator.submit(here.job("a"))
        with pytest.raises(errors.NoSuchWork):
            await here.coordinator.job(submitted.item.id, "them")
        with pytest.raises(errors.NoSuchWork):
            await here.coordinator.cancel(submitted.item.id, "them", "a test")
        assert not await here.coordinator.jobs("them")
        assert len(await here.coordinator.jobs("me")) == 1


@pytest.mark.requirement("cancel-frees-at-once")
async def test_submissions_cancelled_at_any_moment_are_wholly_in_or_wholly_out(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, spec("a"), max_queue=10_000, max_queue_per_client=10_000) as here:
        await here.coordinator.pause(True)
        for step in range(60):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(here.coordinator.submit, here.job("a"))
                    for _ in range(step % 12):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
        ledger = here.coordinator.keeper.ledger
        await here.until(lambda: len(ledger.line.places()) == len(ledger.line))
        kept = await here.coordinator.jobs("me", limit=1000)
        assert {item.id for item in kept} == {entry.id for entry in ledger.line.entries()}
        assert 0 < len(kept) < 60


async def test_old_history_is_dropped_while_the_queue_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TIDY_EVERY_S", 0.02)
    async with bench(tmp_path, spec("a"), history_s=0.01) as here:
        here.engine.may_answer.set()
        submitted = await here.coordinator.submit(here.job("a"))
        with anyio.fail_after(WITHIN_S):
            await here.coordinator.wait_for(submitted.item.id, "me", WITHIN_S)
            while await here.coordinator.store.item(submitted.item.id) is not None:
                await anyio.sleep(0.01)


async def test_a_runtime_that_is_gone_by_the_time_of_admission_is_refused_at_once(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, spec("a")) as here:
        with anyio.fail_after(WITHIN_S), pytest.raises(errors.RuntimeRemoved):
            await here.coordinator.admit(here.request("taken out meanwhile"))
