"""The server of the guide's example: one tool that reads a file."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("files")


@server.tool()
def read_text_file(path: str) -> str:
    """Read a text file as a whole."""
    return f"what is in {path}"


if __name__ == "__main__":
    server.run("stdio")
