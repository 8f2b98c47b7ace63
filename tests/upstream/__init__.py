"""The way to an engine, against real sockets."""
