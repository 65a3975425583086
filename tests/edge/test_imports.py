"""A board installs the core only: what `edge` imports is part of the contract."""

import json
import subprocess
import sys

FORBIDDEN = {"tensorflow", "matplotlib", "rich", "keras", "export", "firmware_bridge", "typer", "textual"}


def run(code: str) -> dict:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def test_edge_imports_nothing_heavy_and_nothing_from_above(bundle_path):
    code = f"""
import sys, json, edge, edge.cli, edge.run.loop
explainer = edge.Explainer.load({str(bundle_path)!r})
import numpy
explainer.explain(numpy.zeros(explainer.manifest.input_shape))
print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))
"""
    loaded = set(run(code))
    assert not loaded & FORBIDDEN


def test_importing_edge_and_opening_a_bundle_is_quick(bundle_path):
    """In processor time, which other work on the machine does not stretch."""
    code = f"""
import time, json
begin = time.process_time()
import edge
edge.Bundle.open({str(bundle_path)!r})
print(json.dumps(time.process_time() - begin))
"""
    assert min(run(code) for _ in range(3)) < 0.5


def test_the_bridge_and_the_compiler_do_not_import_each_other():
    for one, other in (("export.cli", "firmware_bridge"), ("firmware_bridge.cli", "export")):
        code = f"import sys, json, {one}; print(json.dumps(sorted(sys.modules)))"
        assert not [name for name in run(code) if name.split(".")[0] == other]
