"""The kernels as a library."""

import subprocess
from importlib import resources

from .harness import STRICT


def test_all_kernels_can_be_in_one_program(tmp_path):
    kernels = sorted(entry for entry in (resources.files("export.c") / "kernels").iterdir())
    headers = "\n".join(f'#include "{entry.name}"' for entry in kernels if entry.name.endswith(".h"))
    main = tmp_path / "main.c"
    main.write_text(f"{headers}\nint main(void) {{ return 0; }}\n")
    sources = [str(entry) for entry in kernels if entry.name.endswith(".c")]
    command = ["gcc", *STRICT, "-O0", f"-I{kernels[0].parent}", str(main), *sources, "-o", str(tmp_path / "all")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
