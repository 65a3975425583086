"""`whylite doctor`: what it finds on machines made up for it and on this one, and what it says to do."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

import whylite
from edge.clocks import Fault, SelfTest
from edge.doctor import bundles, cli, interpreters, machine, ports
from edge.doctor.finding import Finding, Level
from edge.doctor.interpreters import Probe
from edge.doctor.serial_ports import Person, serial_ports
from edge.explainer import Explainer
from edge.wire.port import Port
from tests.edge.machines import SOMEBODY, Machine

EDGE_TPU = {"library": False, "device": False, "error": ""}
XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
OWNER = Person(SOMEBODY, "bob", frozenset({os.getegid()}))
STRANGER = Person(SOMEBODY, "bob", frozenset({SOMEBODY}))


@pytest.fixture
def pi(tmp_path):
    return Machine(tmp_path)


def levels(findings):
    return [finding.level for finding in findings]


def only(findings, level):
    (finding,) = [finding for finding in findings if finding.level is level]
    return finding


# --- interpreters


def found(float32=True, int8=True, answer=10.0, edge_tpu=EDGE_TPU):
    return {
        "float32": {"answer": [0.0, answer], "delegated": float32},
        "int8": {"answer": [0.0, 5.0], "delegated": int8},
        "edge_tpu": edge_tpu,
    }


def examined(root, result, name="litert"):
    return list(interpreters.examine(root, [name], lambda _: result))


def test_an_interpreter_that_runs_with_xnnpack_is_fine(tmp_path):
    findings = examined(tmp_path, Probe(found(), XNNPACK))
    assert levels(findings) == [Level.OK, Level.OK]
    assert findings[1].what == "XNNPACK is on for float32 and int8"


def test_xnnpack_for_float_only_is_noted(tmp_path):
    note = only(examined(tmp_path, Probe(found(int8=False), XNNPACK), "tflite-runtime"), Level.NOTE)
    assert "int8 models run on TFLite's own kernels" in note.what


def test_xnnpack_that_is_off_is_a_warning(tmp_path):
    probed = Probe(found(False, False), "")
    assert "XNNPACK is off" in only(examined(tmp_path, probed), Level.WARNING).what
    narrow = list(interpreters.examine(tmp_path, ["tflite-runtime"], lambda _: probed, wide=False))
    assert "32-bit Arm have none" in only(narrow, Level.NOTE).advice


def test_an_unnamed_delegate_is_not_called_xnnpack(tmp_path):
    assert "a delegate that does not say its name" in examined(tmp_path, Probe(found(), ""))[1].what


def test_a_wrong_answer_is_a_problem(tmp_path):
    problem = only(examined(tmp_path, Probe(found(answer=7.0), XNNPACK)), Level.PROBLEM)
    assert "answers [0.0, 7.0] where [0.0, 10.0] is right (float32)" in problem.what


@pytest.mark.parametrize(
    ("said", "died", "told"),
    [
        ("AttributeError: _ARRAY_API not found", "fails: ImportError", "pip install 'numpy<2'"),
        ("ImportError: /lib/libc.so.6: version `GLIBC_2.34' not found", "fails: ImportError", "newer system"),
        ("", "dies of SIGILL", "instructions that the processor lacks"),
        ("something else", "fails: odd", "--force-reinstall tflite-runtime"),
    ],
)
def test_why_an_interpreter_fails_is_explained_and_the_next_one_is_tried(tmp_path, said, died, told):
    results = {"tflite-runtime": Probe(None, said, died), "tensorflow": Probe(found(), XNNPACK)}
    findings = list(interpreters.examine(tmp_path, list(results), results.get))
    assert levels(findings) == [Level.PROBLEM, Level.OK, Level.OK]
    assert died in findings[0].what
    assert told in findings[0].advice + findings[0].command


@pytest.mark.parametrize(
    ("wide", "python", "told"),
    [(True, (3, 13), "ai-edge-litert"), (False, (3, 11), "tflite-runtime 'numpy<2'"), (False, (3, 13), "64-bit")],
)
def test_where_there_is_no_interpreter_it_says_which_one_to_install(wide, python, told):
    finding = interpreters.nothing(wide=wide, python=python)
    assert finding.level is Level.PROBLEM
    assert told in finding.command + finding.advice


def test_no_interpreter_at_all_is_a_problem(tmp_path):
    assert levels(interpreters.examine(tmp_path, [], None)) == [Level.PROBLEM]


@pytest.mark.parametrize(
    ("attached", "library", "opens", "level", "told"),
    [
        (True, True, True, Level.OK, "opens with libedgetpu"),
        (True, True, False, Level.WARNING, "plugdev"),
        (True, False, False, Level.WARNING, "libedgetpu1-std"),
        (False, True, False, Level.NOTE, "no Edge TPU is attached"),
    ],
)
def test_an_edge_tpu_and_its_library(pi, attached, library, opens, level, told):
    if attached:
        pi.write("sys/bus/usb/devices/2-1/idVendor", "1a6e\n")
        pi.write("sys/bus/usb/devices/2-1/idProduct", "089a\n")
    tpu = {"library": library, "device": opens, "error": "no access"}
    findings = examined(pi.root, Probe(found(edge_tpu=tpu), XNNPACK))
    assert findings[2].level is level
    assert told in findings[2].what + findings[2].advice + findings[2].command


def test_an_edge_tpu_on_pcie_is_seen(pi):
    pi.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n")
    pi.write("sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n")
    assert "PCIe 0000:01:00.0" in examined(pi.root, Probe(found(), XNNPACK))[2].what


def test_the_interpreter_here_runs_the_test_models():
    result = interpreters.probe("litert")
    assert {kind: result.found[kind]["answer"] for kind in ("float32", "int8")} == {
        "float32": [0.0, 10.0],
        "int8": [0.0, 5.0],
    }
    assert result.found["float32"]["delegated"]
    assert "XNNPACK" in result.said


def test_a_model_without_a_delegate_is_told_from_one_with(monkeypatch):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from edge.doctor import probe

    def plain(**options):
        return Interpreter(experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, **options)

    for kind, answer in probe.MODELS.items():
        assert probe._run(plain, kind) == {"answer": answer, "delegated": False}


@pytest.mark.parametrize(
    ("code", "died"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGILL)})", "dies of SIGILL"),
        ("raise ImportError('no such wheel')", "fails: no TFLite interpreter can be imported: litert: no such wheel"),
    ],
)
def test_an_interpreter_that_dies_takes_nobody_along(monkeypatch, tmp_path, code, died):
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    result = interpreters.probe("litert")
    assert result.found is None
    assert died in result.died


def test_where_no_process_can_be_started_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    (problem,) = interpreters.examine(tmp_path, ["litert"], interpreters.probe)
    assert "cannot be tried: no process can be started (No such file or directory)" in problem.what
    assert "memory" in problem.advice


def test_the_test_models_are_what_they_are_said_to_be():
    from export.tflite import read

    for kind in ("float32", "int8"):
        path = Path(interpreters.__file__).with_name(f"{kind}.tflite")
        (graph,) = read(path.read_bytes()).graphs
        (op,) = graph.ops
        assert (op.code, graph.inputs[0].shape, str(graph.inputs[0].dtype)) == ("FULLY_CONNECTED", (1, 4), kind)
        stored = np.array([[1, -2, 3, -4], [-1, 2, -3, 4]])
        assert (op.inputs[1].data == stored).all()


# --- the machine


def test_a_healthy_pi_has_nothing_to_do(pi):
    findings = list(machine.examine(pi.root))
    assert levels(findings) == [Level.NOTE] + [Level.OK] * (len(findings) - 1)
    said = " ".join(finding.what for finding in findings)
    for part in ("4 cores with NEON", "3228 of 3979 MB", "ondemand, 600 of 1500 MHz", "48 °C", "never throttled"):
        assert part in said


@pytest.mark.parametrize(
    ("features", "level", "said"),
    [
        ("Features : fp asimd asimddp i8mm", Level.OK, "dot product, int8 matrix product"),
        ("Features : half thumb vfp", Level.PROBLEM, "without NEON"),
        ("Features : half thumb neon vfpv4", Level.NOTE, "with NEON, without int8 dot products"),
        ("flags : sse4_2 avx avx2", Level.NOTE, "with AVX2"),
        ("flags : avx2 avx512_vnni", Level.OK, "AVX-512 VNNI"),
    ],
)
def test_what_the_processor_can_do_with_int8(pi, features, level, said):
    pi.write("proc/cpuinfo", f"processor : 0\n{features}\n")
    finding = next(machine.examine(pi.root))
    assert finding.level is level
    assert said in finding.what
    assert finding.what.startswith("1 core ")


def test_powersave_is_a_warning_with_the_command_that_ends_it(pi):
    pi.cores("powersave")
    warning = only(machine.examine(pi.root), Level.WARNING)
    assert "governor powersave" in warning.what
    assert warning.command == "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


def test_powersave_of_a_driver_that_decides_itself_is_fine(pi):
    pi.cores("powersave")
    pi.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n")
    assert Level.WARNING not in levels(machine.examine(pi.root))


def test_a_limited_frequency_is_a_warning(pi):
    pi.cores("performance", allowed=1_000_000)
    assert "limited to 1000 of 1500 MHz" in only(machine.examine(pi.root), Level.WARNING).what


@pytest.mark.parametrize(
    ("bits", "level", "said"),
    [
        ("50005", Level.WARNING, "under-voltage now, throttled now"),
        ("50000", Level.WARNING, "under-voltage earlier, throttled earlier"),
        ("80008", Level.WARNING, "soft temperature limit now"),
        ("80000", Level.NOTE, "soft temperature limit earlier"),
    ],
)
def test_throttling_is_told_in_words(pi, bits, level, said):
    pi.write("sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits}\n")
    finding = list(machine.examine(pi.root))[-1]
    assert (finding.level, finding.what) == (level, said)
    assert finding.advice


def test_heat_and_too_little_memory_are_warnings(pi):
    pi.write("sys/class/thermal/thermal_zone0/temp", "84000\n")
    pi.write("proc/meminfo", "MemTotal: 439832 kB\nMemAvailable: 81872 kB\n")
    said = [finding.what for finding in machine.examine(pi.root) if finding.level is Level.WARNING]
    assert [words.split()[0] for words in said] == ["84", "84"]  # MB, and degrees


def test_a_machine_that_tells_nothing_is_no_reason_to_fail(tmp_path):
    assert list(machine.examine(tmp_path)) == []
    assert levels(ports.examine(tmp_path, OWNER)) == [Level.NOTE]


def test_a_clock_that_fails_its_test_is_a_warning(pi):
    good = machine.clock(pi.root, SelfTest(37, (), 4e-6))
    assert good.level is Level.OK
    assert "(arch_sys_counter)" in good.what
    assert "within 4 ppm" in good.what
    bad = machine.clock(pi.root, SelfTest(0, (Fault.STALLED,), None))
    assert (bad.level, "stood still" in bad.what) == (Level.WARNING, True)
    assert machine.clock(Path("/")).level is Level.OK


# --- a bundle


def test_a_bundle_is_tried_and_timed(bundle_path):
    runs, takes = bundles.examine(str(bundle_path))
    assert levels([runs, takes]) == [Level.OK, Level.OK]
    assert runs.what.startswith("shapes runs in litert ")
    assert "bit for bit" in runs.what
    for part in ("a prediction takes ", ", gradcam ", ", saliency ", ", integrated_gradients ", "after warm-up"):
        assert part in takes.what


def test_golden_inputs_that_score_otherwise_here_are_noted(bundle_path, monkeypatch):
    monkeypatch.setattr(Explainer, "check_golden", lambda _: 3)
    note = only(bundles.examine(str(bundle_path)), Level.NOTE)
    assert "3 golden inputs have other scores than litert" in note.what


def test_a_bundle_that_cannot_be_opened_is_a_problem(tmp_path):
    (problem,) = bundles.examine(str(tmp_path / "no.why"))
    assert problem.level is Level.PROBLEM
    assert "no.why" in problem.what
    assert problem.advice


def test_a_bundle_is_not_tried_where_no_interpreter_runs(monkeypatch, bundle_path):
    monkeypatch.setattr(interpreters, "installed", list)
    assert all(finding.section != "bundle" for finding in cli.examine(str(bundle_path)))


# --- serial ports


def test_ports_are_those_with_hardware_behind_them(pi):
    pi.uart("ttyAMA0")
    pi.usb("ttyUSB10", "0403", "6001", "FTDI FT232R USB UART")
    pi.usb("ttyUSB2", "0403", "6001", "FTDI FT232R USB UART")
    pi.uart("ttyGS0")
    for empty, kind in (("ttyS3", "0"), ("ttyS0", "4")):
        pi.uart(empty)
        pi.write(f"sys/class/tty/{empty}/type", kind)
    for none in ("tty1", "ttyprintk", "console"):
        pi.uart(none)
    assert [port.device for port in serial_ports(pi.root)] == [
        "/dev/ttyAMA0", "/dev/ttyGS0", "/dev/ttyS0", "/dev/ttyUSB2", "/dev/ttyUSB10",
    ]  # fmt: skip
    assert serial_ports(pi.root)[3].kind == "FTDI FT232R USB UART"


def test_a_free_port_is_fine(pi):
    pi.usb("ttyUSB0", "0403", "6001", "FTDI FT232R USB UART")
    finding = only(ports.examine(pi.root, OWNER), Level.OK)
    assert finding.what == "/dev/ttyUSB0 (FTDI FT232R USB UART): free, and you may use it"


def test_a_missing_permission_names_the_group_and_the_command(pi):
    pi.usb("ttyACM0", "2e8a", "000a", "Raspberry Pico")
    problem = only(ports.examine(pi.root, STRANGER), Level.PROBLEM)
    assert "you, bob, may not use it" in problem.what
    assert problem.command == "sudo usermod -aG dialout bob"


def test_who_may_read_but_not_write_may_not_use_a_port_and_root_may(pi):
    pi.uart("ttyAMA0", mode=0o644)
    assert levels(ports.examine(pi.root, STRANGER)) == [Level.PROBLEM]
    root = Person(0, "root", frozenset({0}))
    assert levels(ports.examine(pi.root, root)) == [Level.OK]


def test_where_another_port_can_be_used_a_missing_permission_is_a_warning(pi):
    pi.usb("ttyACM0", "2e8a", "000a", "Raspberry Pico")
    pi.uart("ttyAMA0", mode=0o666)
    assert sorted(levels(ports.examine(pi.root, STRANGER))) == [Level.OK, Level.WARNING]


def test_who_joined_the_group_since_is_told_to_log_in_again(pi):
    pi.uart("ttyAMA0")
    ann = Person(SOMEBODY, "ann", frozenset({SOMEBODY}))
    problem = only(ports.examine(pi.root, ann), Level.PROBLEM)
    assert "log in again" in problem.advice
    assert problem.command == "newgrp dialout"


def test_a_port_that_no_group_may_use_wants_a_rule(pi):
    pi.uart("ttyAMA0", mode=0o600)
    assert 'KERNEL=="ttyAMA0", GROUP="dialout"' in only(ports.examine(pi.root, STRANGER), Level.PROBLEM).command


def test_who_holds_a_port_is_named(pi):
    pi.usb("ttyUSB0", "0403", "6001", "FTDI FT232R USB UART")
    pi.process(812, "/usr/bin/minicom", "-D", "/dev/ttyUSB0", opened="/dev/ttyUSB0")
    note = only(ports.examine(pi.root, OWNER), Level.NOTE)
    assert note.what == "/dev/ttyUSB0 is in use by `/usr/bin/minicom -D /dev/ttyUSB0` (pid 812)"
    assert note.command == "kill 812"
    wanted = only(ports.look_closer("/dev/ttyUSB0", 921600, pi.root, OWNER), Level.PROBLEM)
    assert wanted.what == note.what


def test_modem_manager_is_kept_away_by_a_rule_for_this_board(pi):
    pi.usb("ttyACM0", "2e8a", "000a", "Raspberry Pico")
    assert levels(ports.examine(pi.root, OWNER)) == [Level.OK]
    pi.process(433, "/usr/sbin/ModemManager")
    warning = only(ports.examine(pi.root, OWNER), Level.WARNING)
    assert "ModemManager (pid 433)" in warning.what
    assert 'ATTRS{idVendor}=="2e8a", ATTRS{idProduct}=="000a", ENV{ID_MM_DEVICE_IGNORE}="1"' in warning.command


def test_modem_manager_leaves_adapters_alone_and_so_does_the_doctor(pi):
    pi.usb("ttyUSB0", "0403", "6001", "FTDI FT232R USB UART")
    pi.process(433, "/usr/sbin/ModemManager")
    assert levels(ports.examine(pi.root, OWNER)) == [Level.OK]


@pytest.mark.parametrize("place", ["c166:0", "c189:5"])  # the port, and the USB device behind it
def test_modem_manager_that_a_rule_keeps_away_is_fine(pi, place):
    pi.usb("ttyACM0", "2e8a", "000a", "Raspberry Pico")
    pi.process(433, "/usr/sbin/ModemManager")
    pi.write(f"run/udev/data/{place}", "I:1\nE:ID_MM_CANDIDATE=1\nE:ID_MM_DEVICE_IGNORE=1\n")
    assert levels(ports.examine(pi.root, OWNER)) == [Level.OK]


def test_a_login_prompt_is_told_to_everybody_and_once(pi):
    pi.uart("ttyAMA0", "204:64")
    pi.process(500, "/sbin/agetty", "-", "vt220", opened="/dev/ttyAMA0", terminal=(204 << 8) | 64)
    problem = only(ports.look_closer("/dev/ttyAMA0", 921600, pi.root, OWNER), Level.PROBLEM)
    assert problem.what == "/dev/ttyAMA0 is a terminal for `agetty` (pid 500)"
    assert problem.command == "sudo systemctl disable --now serial-getty@ttyAMA0.service"


@pytest.mark.parametrize("word", ["console=ttyAMA0,115200", "console=serial0,115200"])
def test_the_kernels_messages_on_a_port_and_how_a_pi_is_rid_of_them(pi, word):
    pi.uart("ttyAMA0")
    (pi.root / "dev/serial0").symlink_to("ttyAMA0")
    cmdline = pi.write("proc/cmdline", f"{word} console=tty1 root=PARTUUID=1\n").read_text()
    boot = pi.write("boot/firmware/cmdline.txt", cmdline.replace("ttyAMA0", "serial0"))
    warning = only(ports.examine(pi.root, OWNER), Level.WARNING)
    assert word in warning.what
    edit = warning.command.removeprefix("sudo ").replace("/boot", f"{pi.root}/boot")
    subprocess.run(edit, shell=True, check=True)
    assert boot.read_text() == "console=tty1 root=PARTUUID=1\n"


def test_an_alias_is_looked_at_as_what_it_stands_for(pi):
    pi.uart("ttyAMA0")
    (pi.root / "dev/serial0").symlink_to("ttyAMA0")
    problem = only(ports.look_closer("/dev/serial0", 921600, pi.root, STRANGER), Level.PROBLEM)
    assert problem.what.startswith("/dev/ttyAMA0 (UART): you, bob, may not use it")


def test_a_usb_socket_that_could_be_a_port(pi):
    pi.write("sys/class/udc/fe980000.usb/state", "not attached\n")
    assert "could be a serial port" in list(ports.examine(pi.root, OWNER))[-1].what
    pi.uart("ttyGS0")
    assert "no host is attached" in list(ports.examine(pi.root, OWNER))[-1].what
    pi.write("sys/class/udc/fe980000.usb/state", "configured\n")
    assert levels(ports.examine(pi.root, OWNER)) == [Level.OK]


def test_a_port_that_is_not_there_names_those_that_are(pi):
    pi.uart("ttyAMA0")
    problem = only(ports.look_closer("/dev/ttyUSB7", 921600, pi.root, OWNER), Level.PROBLEM)
    assert problem.what == "/dev/ttyUSB7 is not there"
    assert "/dev/ttyAMA0" in problem.advice


def test_a_real_port_is_opened_at_the_rate_asked_for_and_a_taken_one_is_not():
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        os.close(slave)
        here = Person.here()
        findings = list(ports.look_closer(name, 115200, Path("/"), here))
        assert findings[-1] == Finding("serial ports", Level.OK, f"{name} opens at 115200 baud")
        with closing(Port(name)):
            (taken,) = ports.look_closer(name, 115200, Path("/"), here)
            assert taken.level is Level.PROBLEM
            assert f"(pid {os.getpid()})" in taken.what
    finally:
        os.close(master)


def test_a_pty_of_another_user_wants_one_user_and_no_rule():
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        os.close(slave)
        (problem,) = ports.look_closer(name, 115200, Path("/"), STRANGER)
    finally:
        os.close(master)
    assert problem.level is Level.PROBLEM
    assert problem.what == f"{name} (a pseudo-terminal): you, bob, may not use it"
    assert f"it belongs to {Person.here().name}" in problem.advice
    assert not problem.command


def test_what_is_no_terminal_is_neither_called_free_nor_opened(tmp_path):
    file = tmp_path / "notes"
    file.write_text("")
    for path in (file, tmp_path, Path("/dev/null")):  # which many programs have open: none is to be killed for it
        (problem,) = ports.look_closer(str(path), 115200, Path("/"), Person.here())
        assert problem.level is Level.PROBLEM
        assert problem.what == f"{path} is no serial port and no terminal"
        assert "/dev/ttyACM0" in problem.advice


def test_a_rate_that_a_driver_does_not_have_is_a_problem(monkeypatch):
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        os.close(slave)
        monkeypatch.setattr(ports, "_rate", lambda _: 115107)
        findings = list(ports.look_closer(name, 921600, Path("/"), Person.here()))
        assert "runs at 115107 baud where 921600 were asked for" in only(findings, Level.PROBLEM).what
        findings = list(ports.look_closer(name, 115200, Path("/"), Person.here()))
        assert Level.PROBLEM not in levels(findings)
    finally:
        os.close(master)


def test_a_port_that_is_no_file_is_tried():
    (refused,) = ports.look_closer("socket://127.0.0.1:1", 921600, Path("/"), OWNER)
    assert refused.level is Level.PROBLEM
    assert refused.advice


# --- the command


def test_a_finding_is_wrapped_and_its_command_is_not():
    command = "echo " + "x" * 100
    finding = Finding("serial ports", Level.WARNING, "what " * 20, "advice " * 20, command)
    plain = cli.text(finding, 80, headed=True, coloured=False)
    lines = plain.split("\n")
    assert lines[:2] == ["", "serial ports"]
    assert lines[2].startswith("  warning   what what")
    assert lines[-1] == " " * 12 + f"$ {command}"
    assert all(len(line) <= 80 for line in lines[:-1])
    coloured = cli.text(finding, 80, headed=True, coloured=True)
    assert coloured != plain
    assert coloured.replace("\x1b[33m", "").replace("\x1b[0m", "") == plain


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(monkeypatch, environment, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "examine", lambda *_: iter([Finding("clock", Level.WARNING, "said")]))
    master, slave = pty.openpty()
    try:
        with os.fdopen(slave, "w") as terminal:
            monkeypatch.setattr(sys, "stdout", terminal)
            whylite.main(["doctor"])
            shown = ""
            while "said" not in shown:  # the pty's far end hands over what it has by now, which may be half of it
                shown += os.read(master, 4096).decode()
    finally:
        os.close(master)
    assert "said" in shown
    assert ("\x1b[33mwarning" in shown) == coloured
    assert ("\x1b" in shown) == coloured


def test_the_verdict_counts():
    findings = [Finding("", level, "") for level in (Level.OK, Level.WARNING, Level.WARNING, Level.PROBLEM)]
    assert cli.verdict(findings) == "1 problem, 2 warnings"
    assert cli.verdict(findings[:1]) == "nothing to do"


@pytest.mark.parametrize(("level", "code"), [(Level.OK, 0), (Level.WARNING, 0), (Level.PROBLEM, 1)])
def test_the_exit_code_says_whether_something_keeps_it_from_running(monkeypatch, capsys, level, code):
    monkeypatch.setattr(cli, "examine", lambda *_: iter([Finding("clock", level, "said", "do", "this")]))
    assert whylite.main(["doctor"]) == code
    assert f"  {level.label:<10}said" in capsys.readouterr().out
    assert whylite.main(["doctor", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["worst"] == level.label
    assert document["findings"] == [
        {"section": "clock", "level": level.label, "what": "said", "advice": "do", "command": "this"}
    ]


def test_a_folder_that_is_no_installation_is_a_problem_and_no_reason_to_fail(monkeypatch, capsys):
    def missing(_):
        raise PackageNotFoundError("whylite")

    monkeypatch.setattr(cli, "version", missing)
    monkeypatch.setattr(interpreters, "installed", list)
    assert whylite.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("whylite (not installed) on ")
    assert f"$ pip install {Path(whylite.__file__).parent}" in said


def test_a_reader_that_has_seen_enough_is_no_reason_to_fail():
    command = f"{sys.executable} -m whylite doctor | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}  # 1 where it was done before the reader was gone
    assert ended.stderr == ""


def test_wrong_usage_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        whylite.main(["doctor", "--baud", "0"])
    assert refused.value.code == 2
    assert "usage: whylite doctor" in capsys.readouterr().err


def test_on_this_machine():
    """In a process of its own, as a user meets it; whatever the machine has, it says so and does not fail."""
    command = [sys.executable, "-m", "whylite", "doctor"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}
    assert "Traceback" not in ended.stderr
    assert ended.stdout.startswith("whylite ")
    for section in ("\ninterpreter\n", "\nprocessor\n", "\nclock\n", "\nserial ports\n"):
        assert section in ended.stdout
    assert "\x1b" not in ended.stdout
    assert "runs float32 and int8 models" in ended.stdout
