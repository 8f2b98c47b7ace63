"""The loop, its leases and its jobs, with engines that stop where a test wants them to."""
