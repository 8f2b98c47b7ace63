"""What tools exist: a snapshot on disk and the index over it."""
