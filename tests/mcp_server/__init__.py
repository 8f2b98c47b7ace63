"""The MCP surface, over real sockets, in both protocol eras."""
