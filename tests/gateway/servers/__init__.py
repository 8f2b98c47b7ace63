"""MCP servers that stand behind the gateway in tests."""
