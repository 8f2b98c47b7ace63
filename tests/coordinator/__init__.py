"""The coordinator: decision, queue, loop, recovery."""
