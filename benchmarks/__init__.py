"""Measurements behind every figure in the docs; each is one command."""
