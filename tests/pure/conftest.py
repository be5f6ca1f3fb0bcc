"""These tests do without TensorFlow and without Kafka's clients, and so start at once: `make check`."""

import sys

import pytest

from tfonline.publish.versions import Versions

_HEAVY = ("tensorflow", "confluent_kafka")


@pytest.fixture(autouse=True, scope="session")
def light(request):
    """Fails the session where something here has brought one of them in, and no other room is tested beside this one."""
    yield
    if all("pure" in item.path.parts for item in request.session.items):
        assert [name for name in _HEAVY if name in sys.modules] == []


@pytest.fixture
def versions(tmp_path):
    """The set of versions in an empty folder; three are kept."""
    return Versions(tmp_path / "export", keep=3)
