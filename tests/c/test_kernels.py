"""The kernels as a library."""

import subprocess
import sys
from importlib import resources

import pytest

from firmware_bridge import cores
from tests.tools import GCC, needs, require

from .harness import CORES, STRICT


@needs("gcc")
def test_all_kernels_can_be_in_one_program(tmp_path):
    kernels = sorted(entry for entry in (resources.files("export.c") / "kernels").iterdir())
    headers = "\n".join(f'#include "{entry.name}"' for entry in kernels if entry.name.endswith(".h"))
    main = tmp_path / "main.c"
    main.write_text(f"{headers}\nint main(void) {{ return 0; }}\n")
    sources = [str(entry) for entry in kernels if entry.name.endswith(".c")]
    command = ["gcc", *STRICT, "-O0", f"-I{kernels[0].parent}", str(main), *sources, "-o", str(tmp_path / "all")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]


@needs(GCC)
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
def test_helium_compiles_however_registers_are_given_out(level, tmp_path):
    kernels = resources.files("export.c") / "kernels"
    sources = [str(entry) for entry in kernels.iterdir() if entry.name.endswith("mve.c")]
    command = [GCC, *CORES["m55"].flags, *STRICT, "-mthumb", "-ffreestanding", level, "-c", *sources]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4f", "cortex-m55"])  # without DSP, with it, with Helium
@pytest.mark.parametrize("compiler", ["clang", "zig"])
def test_kernels_are_clean_for_clang(compiler, core, tmp_path):
    """Two releases of it: the system's, and the newer one that Zig from PyPI is."""
    target, cpu = cores.CORES[core].zig
    command = {
        "clang": ["clang", "--target=arm-none-eabi", "-mthumb", *cores.CORES[core].gcc],
        "zig": [sys.executable, "-m", "ziglang", "cc", "-target", target, f"-mcpu={cpu}"],
    }[compiler]
    require(command[0])
    kernels = resources.files("export.c") / "kernels"
    sources = [str(entry) for entry in kernels.iterdir() if entry.name.endswith(".c")]
    command += [*STRICT, "-ffreestanding", "-O1", "-c", *sources]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
