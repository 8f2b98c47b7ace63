"""`60s` on the command line; the configuration has its own, with pydantic behind it."""

import argparse
import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def given(text: str) -> float:
    """Seconds, for `argparse`: a bare number counts as seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write it like 30s or 10m")
    return float(match[1]) * _SECONDS[match[2] or "s"]
