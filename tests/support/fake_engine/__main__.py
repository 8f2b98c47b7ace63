"""Entry point: `python -m tests.support.fake_engine`."""

from tests.support.fake_engine import knobs, server

if __name__ == "__main__":
    server.main(knobs.parse())
