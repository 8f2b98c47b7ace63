"""`lmg mcp-stdio`: MCP over standard input and output, for clients that can only start a program."""

import argparse
import os

from local_model_gateway import client
from local_model_gateway.commands import mcp_stdio
from local_model_gateway.terminal import Terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    gateway = client.find(given, os.environ)
    headers = {} if gateway.key is None else {"Authorization": f"Bearer {gateway.key}"}
    return mcp_stdio.main(f"{gateway.url}/mcp", headers)
