"""CMSIS-NN in place of our kernels: byte for byte the same. Its sources come with bakenn, from PyPI."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from export.c import Described, emit
from firmware_bridge import cmsis_nn
from firmware_bridge.boards import named
from firmware_bridge.build import BuildOptions, build_sources
from firmware_bridge.errors import BuildError
from tests.tools import GCC, QEMU, needs

from .harness import CORES, on_board
from .test_convolution import check, conv, dense, depthwise

REQUIREMENTS = Path(__file__).parents[2] / "benchmarks" / "bakenn-requirements.txt"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder with CMSIS-NN's sources."""
    folder = tmp_path_factory.mktemp("bakenn")
    (package,) = (line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("bakenn=="))
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lack = pytest.fail if os.environ.get("CI") else pytest.skip
        lack(f"bakenn, which has CMSIS-NN's sources, cannot be had: {done.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.slow
@needs(GCC, QEMU)
@pytest.mark.parametrize("core", ["m4", "m55"])
def test_boards_compute_the_same(core, library, tmp_path):
    files = cmsis_nn.files(library)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    names = [name for name in files if name.endswith(".c")]
    flags = [*CORES[core].flags, "-mthumb", "-ffunction-sections", "-O2", "-I."]
    subprocess.run([GCC, *flags, "-c", *names], cwd=tmp_path, check=True)
    cases = [make(seed) for seed in range(8) for make in (conv, depthwise, dense)]
    cases += [make(seed, 70) for seed in range(100, 103) for make in (conv, depthwise, dense)]
    theirs = ["-DWHYLITE_CMSIS_NN", f"-isystem{tmp_path}", *map(str, tmp_path.glob("*.o"))]
    check(cases, on_board(cases, tmp_path / "program", core, "-O2", *theirs))


@pytest.mark.slow
@needs(GCC)
def test_firmware_calls_it(library, tmp_path):
    case = conv(0)
    described = Described("one", case.graph, case.graph.outputs[0], case.graph.outputs[0])
    sources = {name: text.encode() for name, text in emit(described).files.items()}
    options = BuildOptions(cmsis_nn=library)
    made = build_sources(sources, "one", named("qemu-mps2-an386"), tmp_path / "firmware", options)
    linked = {part.source for part in made.footprint.parts}
    assert {"arm_convolve_wrapper_s8.c", "whylite_conv_cmsis.c"} <= linked
    assert not {"whylite_conv.c", "whylite_conv_dsp.c"} & linked
    assert made.toolchain.endswith("with CMSIS-NN")


def test_models_that_do_not_call_it_are_refused(tmp_path):
    (tmp_path / "arm_nnfunctions.h").touch()
    options = BuildOptions(cmsis_nn=tmp_path)
    with pytest.raises(BuildError, match="nothing in the C of 'old' calls CMSIS-NN"):
        build_sources({"whylite_old.c": b""}, "old", named("qemu-mps2-an386"), tmp_path / "out", options)


def test_a_folder_without_it_is_refused(tmp_path):
    with pytest.raises(BuildError, match="there is no CMSIS-NN in "):
        cmsis_nn.files(tmp_path)
