"""Which sources a model is given, and how they are written."""

from __future__ import annotations

import re

import pytest

from export.c.emit import kernels
from tests.firmware.build import CORES, FIRMWARE, ROOT, run
from tests.tools import GCC

KERNELS = ROOT / "export/c/kernels"
FAMILIES = sorted({path.stem.split("_")[1] for path in KERNELS.glob("*.c")} - {"dsp", "mve"})
C_FILES = sorted(
    path
    for folder in (KERNELS, FIRMWARE, ROOT / "tests/c", ROOT / "tests/firmware")
    for path in folder.rglob("*.*")
    if path.suffix in {".c", ".h", ".ino"}
)


@pytest.mark.parametrize("core", ["m0", "m4", "m55"])
def test_the_kernels_of_a_family_call_nothing_that_is_not_there(core, tmp_path):
    sources = sorted(KERNELS.glob("*.c"))
    there, asked = {}, {}
    for source in sources:
        target = tmp_path / f"{source.stem}.o"
        run(GCC, "-std=c11", "-mthumb", "-ffreestanding", *CORES[core], "-c", str(source), "-o", str(target))
        listed = run("arm-none-eabi-nm", "-g", str(target))
        there[source.name] = set(re.findall(r" [TDRBV] (\w+)", listed))
        asked[source.name] = set(re.findall(r" U (whylite_\w+)", listed))
    assert any(asked.values()) or core == "m0"
    for family in FAMILIES:
        given = [name for name in kernels([family]) if name.endswith(".c")]
        defined = set().union(*(there[name] for name in given))
        for name in given:
            assert asked[name] <= defined, f"{family}: {name}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_brings_its_own_sources_and_what_they_include(family):
    given = kernels([family])
    assert f"whylite_{family}.c" in given
    for name, text in given.items():
        assert set(re.findall(r'#include "(whylite\w*\.h)"', text)) <= set(given), name


def test_what_is_not_called_is_left_out():
    assert "whylite_conv.c" not in kernels(["depthwise"])  # it has its parameters from whylite_conv.h
    assert "whylite_conv.h" in kernels(["depthwise"])
    assert "whylite_bilinear.c" not in kernels(["conv", "pool", "gather"])


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_c_is_indented_by_two_within_120_columns(path):
    lines = path.read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        assert len(line) <= 120, line
        assert "\t" not in line
        assert line == line.rstrip(), line
        begins = re.match(r"( *)[^ *]", line)  # of a statement, and not of what goes on from the line before
        if begins and re.search(r"[;{}]$", before):
            assert len(begins[1]) % 2 == 0, line
