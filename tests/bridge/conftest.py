from tests.edge.conftest import bundle, bundle_path

__all__ = ["bundle", "bundle_path"]
