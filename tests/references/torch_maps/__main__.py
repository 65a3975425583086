"""Makes the fixtures, or says which are not what the libraries answer now: ``... torch_maps --write | --check``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import numpy as np

from .methods import REFERENCES, Reference
from .networks import EXPLAINED, FIXTURES, NETWORKS, Array

_TOLERANCE = 1e-5  # of the largest value: libraries add up in another order from one version to the next


def answers(reference: Reference) -> dict[str, Array]:
    """Return the maps of a method by network, ``[samples, classes explained, ...]``."""
    return {
        name: np.stack(
            [[reference(network, x[None].astype(np.float64), k)[0] for k in EXPLAINED] for x in network.x]
        ).astype(np.float32)
        for name, network in NETWORKS.items()
    }


def same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether two sets of maps are the same but for rounding."""
    return one.keys() == other.keys() and all(
        values.shape == other[name].shape and np.abs(values - other[name]).max() <= _TOLERANCE * np.abs(values).max()
        for name, values in one.items()
    )


def main() -> int:
    """Return 0 where every fixture is, or was made, what the libraries answer."""
    parser = argparse.ArgumentParser(prog="python -m tests.references.torch_maps", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write what is missing or differs")
    what.add_argument("--check", action="store_true", help="compare: exit code 1 where one is missing or differs")
    write = parser.parse_args().write
    paths = {FIXTURES / f"{name}.npz": reference for name, reference in REFERENCES.items()}
    wrong = [f"{path.name}: of no method" for path in FIXTURES.glob("*.npz") if path not in paths]
    for path, reference in paths.items():
        found = answers(reference)
        if path.is_file() and same(found, dict(np.load(path))):
            continue
        if write:
            np.savez_compressed(path, **found)
            print(f"wrote {path}")
        else:
            wrong.append(f"{path.name}: {'not what the library answers' if path.is_file() else 'missing'}")
    print(*wrong, f"{len(paths)} methods on {len(NETWORKS)} networks", sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
