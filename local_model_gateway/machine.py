"""This machine's memory, as the coordinator asks for it."""

import psutil
from anyio import to_thread

from local_model_gateway import config


async def pool_bytes(settings: config.Pool) -> int | None:
    """What all runtimes together may hold."""
    if settings.memory != "auto":
        return settings.memory
    total = await to_thread.run_sync(lambda: int(psutil.virtual_memory().total))
    return max(total - settings.reserve, total // 4)


class Machine:
    """Memory that can be had, and memory that comes back."""

    async def free(self) -> int | None:
        """Bytes that a new engine could have now."""
        return await to_thread.run_sync(lambda: int(psutil.virtual_memory().available))

    async def settle(
        self, expected_bytes: int | None, free_before: int | None, cap_s: float
    ) -> int:
        """Wait until a gone engine's memory is back."""
        return 0
