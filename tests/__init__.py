"""The whole test suite."""
