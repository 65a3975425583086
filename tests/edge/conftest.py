import pytest

import export
from edge import capture
from tests.references import small_models


@pytest.fixture(autouse=True)
def patient_close(monkeypatch):
    """A source that is closed has let go of what it read, on a busy machine, too."""
    monkeypatch.setattr(capture, "_JOIN", 60.0)


@pytest.fixture(scope="session")
def bundle():
    """A float bundle with every method."""
    methods = ["gradcam", "integrated_gradients", "saliency"]
    labels = ["circle", "square", "star", "nothing"]
    x = small_models.inputs(16)
    options = {"methods": methods, "labels": labels, "name": "shapes", "schedule": "static"}
    return export.explain(small_models.float_classifier(), calibration=x, **options)


@pytest.fixture(scope="session")
def quantized_bundle():
    """An int8 bundle with every method."""
    methods = ["gradcam", "integrated_gradients", "saliency"]
    x = small_models.inputs(16)
    return export.explain(small_models.quantized_classifier(), calibration=x, methods=methods, name="shapes8")


@pytest.fixture(scope="session")
def bundle_path(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "shapes.why"
    bundle.save(path)
    return path
