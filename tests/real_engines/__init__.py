"""Real engines on the hand-made models: exact words, real processes, real swaps."""
