"""Programs that run in another environment than the tests: one client each, its findings as JSON."""
