"""Real MCP clients and whole coding agents, driven unattended as child processes."""
