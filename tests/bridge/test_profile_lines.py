"""What a board says of its operations: the device's own C on the host, with counters that are made up, and noise."""

import shutil
import socket
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.wire.port import Port
from firmware_bridge.build import FIRMWARE
from firmware_bridge.errors import InvalidProfileError, ProfileError
from firmware_bridge.profile.lines import Device, check_counter, parse
from tests.bridge.profiled import DIGEST, bundle
from tests.tools import require

WINDOW = bytes([10, 1, 1, 1, 1, 1, 1, 1])
COMPILER = shutil.which("gcc") or "clang"
STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-g", "-fsanitize=address,undefined")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return the program."""
    require(COMPILER)
    folder = tmp_path_factory.mktemp("profiled")
    for name, data in bundle().members.items():
        if name.startswith("c/"):
            (folder / name.removeprefix("c/")).write_bytes(data)
    sources = [FIRMWARE / f"whylite_{name}.c" for name in ("profile", "integrate", "scores")]
    sources.append(folder / "whylite_loops.c")
    main = FIRMWARE.parents[1] / "tests/bridge/profiled_host.c"

    program = folder / "run"
    command = [COMPILER, *STRICT, "-DWHYLITE_PROFILE", f"-I{folder}", f"-I{FIRMWARE}", str(main), *map(str, sources)]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


class Running:
    """A program with its port on a socket that this process connects to."""

    def __init__(self, program, start, step, memory):
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = Port(f"socket://127.0.0.1:{server.getsockname()[1]}")
            line, _ = server.accept()
        line.setblocking(False)
        with line:
            self.process = subprocess.Popen(
                [program, str(start), str(step), str(memory)], stdin=line, stdout=line, stderr=subprocess.PIPE
            )

    def __enter__(self):
        return self.port

    def __exit__(self, *_):
        self.port.close()
        self.process.kill()
        _, complaints = self.process.communicate()
        assert b"ERROR" not in complaints, complaints.decode()[:2000]


MEMORY = 64 + 16 * 3 + 8 + 32


def measured(program, step, start=0, memory=MEMORY, windows=1):
    with Running(program, start, step, memory) as port:
        board = Device(port, 20.0)
        return board, [board.measure(WINDOW) for _ in range(windows)]


def test_each_read_of_the_counter_is_attributed_and_the_hooks_own_taken_off(compiled):
    board, (sample, again) = measured(compiled, 7, windows=2)
    assert (board.greeting.digest, board.greeting.clock, board.greeting.clock_hz) == (DIGEST, "DWT", 1_000_000)
    assert sample.hook_ticks == 7 * sample.hook_calls
    plain, gradcam, integrated = sample.parts
    assert plain.ticks == {0: 7, 1: 7}
    assert plain.calls == {0: 1, 1: 1}
    assert plain.rest == 7
    assert gradcam.calls == {2: 1}
    # three steps, each with a prediction
    assert integrated.calls == {0: 3, 1: 3, 2: 3}
    assert integrated.ticks == {0: 21, 1: 21, 2: 21}
    assert sample.counted(integrated) == {0: 0, 1: 0, 2: 0}
    assert [part.ticks for part in again.parts] == [part.ticks for part in sample.parts]


def test_a_counter_may_wrap(compiled):
    _, (sample,) = measured(compiled, 7, start=(1 << 32) - 10)
    assert sample.parts[0].ticks == {0: 7, 1: 7}
    check_counter([sample], "DWT")


@pytest.mark.parametrize(
    ("step", "complaint"),
    [(0, "stands still"), ((1 << 32) - 9, "went back")],
)
def test_a_counter_that_does_not_count_up_is_no_zero(compiled, step, complaint):
    _, (sample,) = measured(compiled, step, start=12345)
    with pytest.raises(InvalidProfileError, match=complaint):
        check_counter([sample], "DWT")


def test_without_memory_for_it_the_board_says_so(compiled):
    with pytest.raises(ProfileError, match=r"96 bytes of memory .* too few"):
        measured(compiled, 1, memory=96)


def test_a_window_of_another_model_is_refused_before_it_is_sent(compiled):
    with Running(compiled, 0, 7, MEMORY) as port, pytest.raises(ProfileError, match="windows of 8 bytes, not 9"):
        Device(port, 20.0).measure(WINDOW + b"x")


class Wire:
    """A port of which everything that is ever read is known beforehand."""

    url = "made up"

    def __init__(self, data):
        self.data = data

    def read(self):
        data, self.data = self.data, b""
        return data

    def write(self, data, patience):
        return len(data)

    def wait(self, seconds):
        pass


@given(st.binary(max_size=200), st.lists(st.binary(max_size=60), max_size=6))
def test_noise_is_no_profile(noise, tails):
    data = noise + b"".join(b"$WHY," + tail + b"\n" for tail in tails)
    with pytest.raises(ProfileError):
        Device(Wire(data), 0.01).measure(WINDOW)


def line(text):
    check = 0
    for byte in text.encode():
        check ^= byte
    return f"${text}*{check:02x}\r\n".encode()


def test_lines_are_checked():
    assert parse(line("WHY,op,1,2,a0")) == ("op", ["1", "2", "a0"])
    assert parse(line("WHY,op,1,2,a0").replace(b"a0", b"a1")) is None
    assert parse(line("WHY,op,1,2")) is None
    assert parse(b"boot " + line("WHY,done")) is None
    assert parse(line("WHY,done")) == ("done", [])


HELLO = f"WHY,hello,1,{DIGEST},3,2,8,f4240,DWT"


@pytest.mark.parametrize(
    "lines",
    [
        ["WHY,hook,0,0", "WHY,part,0,1,0,0", "WHY,done"],
        ["WHY,hook,100,700", "WHY,done"],
        ["WHY,hook,100,700", "WHY,part,1,1,0,0", "WHY,done"],
        ["WHY,hook,100,700", "WHY,part,9,1,0,0", "WHY,done"],
        ["WHY,hook,100,700", "WHY,part,0,1,0,0", "WHY,op,3,1,7", "WHY,done"],
        ["WHY,hook,100,700", "WHY,part,0,1,0,0", "WHY,op,0,0,7", "WHY,done"],
        ["WHY,hook,100,700", "WHY,part,0,1,0,0", "WHY,part,0,1,0,0", "WHY,done"],
        ["WHY,hook,100,zz", "WHY,part,0,1,0,0", "WHY,done"],
    ],
)
def test_what_no_model_of_ours_counts_is_refused(lines):
    data = b"".join(map(line, [HELLO, *lines]))
    with pytest.raises(ProfileError):
        Device(Wire(data), 0.05).measure(WINDOW)
