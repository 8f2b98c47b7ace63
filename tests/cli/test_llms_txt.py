"""The guide in the repository is the one that a gateway serves, but for this machine's models."""

from pathlib import Path

from local_model_gateway import guide

ROOT = Path(__file__).parents[2]


def test_the_guide_of_the_repository_is_the_one_that_is_served() -> None:
    served = guide.written("http://127.0.0.1:8787", [], keys=False)
    assert (ROOT / "llms.txt").read_text(encoding="utf-8") == served
