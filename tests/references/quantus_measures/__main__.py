"""Makes the fixture, or says what Quantus answers otherwise now: ``... quantus_measures --write | --check``."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from ..torch_maps import libraries  # noqa: F401 (Quantus imports zennit where it is installed)
from .library import answers
from .problem import FIGURES


def main() -> int:
    """Return 0 where the fixture is, or was made, what Quantus answers."""
    parser = argparse.ArgumentParser(prog="python -m tests.references.quantus_measures", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write what is missing or differs")
    what.add_argument("--check", action="store_true", help="compare: exit code 1 where it is missing or differs")
    write, found = parser.parse_args().write, answers()
    there = dict(np.load(FIGURES)) if FIGURES.is_file() else {}
    differ = sorted(found.keys() ^ there.keys())
    differ += [name for name in found.keys() & there.keys() if not np.allclose(found[name], there[name], atol=1e-6)]
    if differ and write:
        np.savez_compressed(FIGURES, **found)
        print(f"wrote {FIGURES}")
        return 0
    print(*(f"{name}: not what Quantus answers" for name in differ), f"{len(found)} figures of Quantus", sep="\n")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
