"""The life of a fake engine: loading, holding memory, crashing, ending."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.support.fake_engine import knobs as knobs_module
from tests.support.fake_engine import memory_ledger, witness


class Engine:
    """What is loaded, what runs, and how it ends."""

    def __init__(self, knobs: knobs_module.Knobs) -> None:
        self.knobs = knobs
        self.witness = witness.Witness(knobs.witness, knobs.model)
        self.ready = False
        self.fraction = 0.0
        self.deaf = False
        self.served = 0
        self.active = 0
        self.slots = asyncio.Semaphore(knobs.slots)
        self.loaded: str | None = None
        self.admin_loads = 0
        self._memory: bytearray | None = None
        self._gpu_fd: int | None = None
        self._ended = asyncio.Event()
        self._workers: list[int] = []

    async def run_load(self) -> None:
        """Load what there is to load, in steps that are printed in the chosen style."""
        self.witness.note("started", argv=sys.argv[1:], env=sorted(os.environ), cwd=str(Path.cwd()))
        for number in range(self.knobs.log_lines):
            print(f"log line {number}", flush=True)
        self._crash_if("start")
        if not self.knobs.asleep:
            await self.load(self.knobs.model)
        self.ready = True
        self.witness.note("ready")
        self._print_state("ready", 1.0)
        if self.knobs.crash == "ready":
            await asyncio.sleep(self.knobs.crash_after_s)
            self._crash_if("ready")

    async def load(self, model: str) -> None:
        """Take the memory of one model, as slowly as the knobs say."""
        self.witness.note("loading", model=model)
        self._lock_gpu()
        for step in range(self.knobs.load_steps):
            self.fraction = step / self.knobs.load_steps
            self._print_state("loading", self.fraction)
            if self.knobs.load_hang and self.fraction >= self.knobs.load_hang_at:
                await asyncio.Event().wait()
            if self.fraction >= 0.5:
                self._crash_if("load")
            await asyncio.sleep(self.knobs.load_s / self.knobs.load_steps)
        self._take_memory()
        self.loaded = model
        self.fraction = 1.0
        self.witness.note("loaded", model=model)

    def unload(self) -> None:
        """Give the memory back but stay up."""
        self.witness.note("unloaded", model=self.loaded)
        self.loaded = self._memory = None
        if self.knobs.memory_ledger is not None:
            memory_ledger.take(self.knobs.memory_ledger, -(self.knobs.memory_mib << 20))
        if self._gpu_fd is not None:
            os.close(self._gpu_fd)
            self._gpu_fd = None

    def _lock_gpu(self) -> None:
        if self.knobs.gpu is None or self._gpu_fd is not None:
            return
        self._gpu_fd = os.open(self.knobs.gpu, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._gpu_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.witness.note("overlap")

    def _take_memory(self) -> None:
        size_bytes = self.knobs.memory_mib << 20
        if self.knobs.memory_ledger is not None:
            memory_ledger.take(self.knobs.memory_ledger, size_bytes)
        elif size_bytes:
            self._memory = bytearray(size_bytes)
            self._memory[::4096] = b"\1" * len(range(0, size_bytes, 4096))

    def _print_state(self, state: str, fraction: float) -> None:
        match self.knobs.load_style:
            case "llama":
                value = f'"payload":{{"stages":["text_model"],"current":"text_model","value":{fraction}}}'
                print(f'cmd_child_to_router:state:{{"state":"{state}",{value}}}', flush=True)
            case "shards":
                done = round(fraction * 10)
                bar = (
                    f"Loading safetensors checkpoint shards: {fraction:4.0%} Completed | {done}/10"
                )
                print(f"{bar} [00:01<00:01,  2.00s/it]", flush=True)
            case "dots":
                print("." * round(fraction * 10), flush=True)

    def _crash_if(self, moment: str) -> None:
        if self.knobs.crash != moment or not self._another_crash():
            return
        self.die(self.knobs.exit_code, self.knobs.crash_text)

    def _another_crash(self) -> bool:
        count = self.knobs.crash_count
        if count is None:
            return True
        with count.open("ab") as file:
            file.write(b"x")
        return count.stat().st_size <= self.knobs.crash_times

    def die(self, exit_code: int, last_words: str = "") -> None:
        """End at once, as a crash does: no cleanup, workers stay."""
        if last_words:
            print(last_words, file=sys.stderr, flush=True)
        self.witness.note("exit", code=exit_code, crash=True)
        os._exit(exit_code)

    def fork_workers(self) -> None:
        """Leave a worker behind, as engines with several processes do; before the event loop starts."""
        if not (self.knobs.fork_child or self.knobs.fork_detached):
            return
        pid = os.fork()
        if pid:
            self._workers.append(pid)
            return
        if self.knobs.fork_detached:
            os.setsid()
        if self.knobs.fork_ignores_term:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.witness.note("worker")
        while True:
            time.sleep(60)

    def watch_signals(self) -> None:
        """SIGTERM ends it as the knobs say; SIGUSR1 makes it deaf and SIGUSR2 hearing again."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_term)
        loop.add_signal_handler(signal.SIGINT, self._on_term)
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._hearing(deaf=True))
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._hearing(deaf=False))
        if self.knobs.orphan_guard:
            loop.add_reader(0, self._on_stdin)

    def _hearing(self, *, deaf: bool) -> None:
        self.deaf = deaf
        if deaf and self.knobs.deaf_burns:
            threading.Thread(target=self._burn, daemon=True).start()
        self.witness.note("deaf" if deaf else "hearing")

    def _burn(self) -> None:
        while self.deaf:
            pass

    def _on_stdin(self) -> None:
        if not os.read(0, 4096):
            self.die(1, "stdin closed: the parent is gone")

    def _on_term(self) -> None:
        self.witness.note("term", active=self.active)
        if not self.knobs.ignore_term:
            self._ended.set()

    async def ended(self) -> None:
        """Wait for SIGTERM and what has to happen before the exit."""
        await self._ended.wait()
        while self.knobs.term_waits and self.active:
            await asyncio.sleep(0.01)
        await asyncio.sleep(self.knobs.exit_delay_s)
        for worker in self._workers:
            # A well-behaved parent takes its ordinary workers along; a detached one is what it forgets.
            if not self.knobs.fork_detached:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM)
        self.witness.note("exit", code=0, crash=False)
