"""Downstream MCP servers, opened only when one of their tools is called."""
