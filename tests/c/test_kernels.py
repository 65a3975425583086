"""The kernels as a library."""

import subprocess
from importlib import resources

import pytest

from .harness import CORES, STRICT


def test_all_kernels_can_be_in_one_program(tmp_path):
    kernels = sorted(entry for entry in (resources.files("export.c") / "kernels").iterdir())
    headers = "\n".join(f'#include "{entry.name}"' for entry in kernels if entry.name.endswith(".h"))
    main = tmp_path / "main.c"
    main.write_text(f"{headers}\nint main(void) {{ return 0; }}\n")
    sources = [str(entry) for entry in kernels if entry.name.endswith(".c")]
    command = ["gcc", *STRICT, "-O0", f"-I{kernels[0].parent}", str(main), *sources, "-o", str(tmp_path / "all")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
def test_helium_compiles_however_registers_are_given_out(level, tmp_path):
    kernels = resources.files("export.c") / "kernels"
    sources = [str(entry) for entry in kernels.iterdir() if entry.name.endswith("mve.c")]
    command = ["arm-none-eabi-gcc", *CORES["m55"].flags, *STRICT, "-mthumb", "-ffreestanding", level, "-c", *sources]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
