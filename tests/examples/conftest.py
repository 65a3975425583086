import pytest

from examples.watch import data


@pytest.fixture(scope="session")
def recordings():
    return data.load()


@pytest.fixture(scope="session")
def unseen(recordings):
    return data.cut(data.of_subjects(recordings, data.TEST_SUBJECTS))
