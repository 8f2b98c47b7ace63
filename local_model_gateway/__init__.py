"""Local Model Gateway: one endpoint in front of every local model."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# In the wheel the sibling packages live in a private folder, so that no other
# distribution's `broker` or `mcp_server` can be mixed into ours, or ours into theirs.
_app = Path(__file__).parent / "_app"
if _app.is_dir():
    sys.path.insert(0, str(_app))
