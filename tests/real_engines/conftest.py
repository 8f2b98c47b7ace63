"""Models that every test here shares; made once, in a second."""

import pytest

from tests.real_engines.fleet import Models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))
