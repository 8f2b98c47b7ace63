"""The official MCP conformance suite, against our own app factory and against the real app."""
