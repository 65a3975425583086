"""What firmware is compiled with is not chosen where nothing is compiled."""

import dataclasses

import pytest

import whylite
from tests.bridge import firmware

OPTIONS = (["--toolchain", "zig"], ["--optimize", "O2"], ["--cmsis-nn", "CMSIS-NN"])


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
@pytest.mark.parametrize(
    ("arguments", "other"),
    [
        (["flash", "tiny.why", "--board", "nrf52840-dk", "--elf", "firmware.elf"], "--elf"),
        (["profile", "tiny.why", "--board", "nrf52840-dk", "--port", "/dev/none"], "--port"),
        (["profile", "tiny.why", "--board", "raspberry-pi-5", "--recording", "day.mcap"], "--recording"),
        (["profile", "--compare", "a.json", "b.json"], "--compare"),
        (["run", "tiny.why", "--board", "nrf52840-dk", "--source", "synthetic:sine", "--port", "/dev/none"], "--port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_compilers_where_none_is_called_are_wrong_usage(arguments, other, option, capsys):
    with pytest.raises(SystemExit) as ended:
        whylite.main([*arguments, *option])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith(
        f"error: {option[0]} has no effect: with {other} nothing is compiled\n  hint: leave out one of them\n"
    )


@pytest.mark.parametrize("board", [[], ["--board", "raspberry-pi-5"]], ids=["here", "elsewhere"])
def test_nothing_is_compiled_to_be_profiled_on_linux(tmp_path, capsys, board):
    plain = firmware.bundle()
    path = tmp_path / "pi.why"
    manifest = dataclasses.replace(plain.manifest, micro=None, target="pi")
    dataclasses.replace(plain, manifest=manifest).save(path)
    assert whylite.main(["profile", str(path), *board, "--optimize", "O3"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: --optimize has no effect: nothing is compiled to be profiled on Linux\n  hint: leave it out\n"
    )
