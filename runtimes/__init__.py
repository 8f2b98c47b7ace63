"""The engines: one managed runtime each, started, watched, drained and stopped."""
