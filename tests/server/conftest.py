"""One demo with small models for all tests of its API."""

import pytest
from fastapi.testclient import TestClient

from server.main import create_app
from tests.helpers.browser import address, browser, page  # noqa: F401
from tests.helpers.tiny.server import settings, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def client(models):
    with TestClient(create_app(settings(models, max_pixels=2_000_000))) as client:
        yield client
