"""Reads the configurations of programs that do a similar job, and says what could not be carried over."""
