"""Tests of what is logged, and of what must not be."""
