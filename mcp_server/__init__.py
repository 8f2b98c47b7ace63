"""The MCP surface: translates tool calls to the coordinator and the broker, never decides."""
