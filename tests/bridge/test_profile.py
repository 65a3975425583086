"""Profiles as documents: what is read back, refused, compared, tabulated and drawn; and those of boards with Linux."""

import dataclasses
import itertools
import json
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import LinkError
from edge.latency import Quantiles
from firmware_bridge.boards import Board, Memory, boards
from firmware_bridge.errors import ProfileError
from firmware_bridge.profile import fit, linux
from firmware_bridge.profile.compare import compare
from firmware_bridge.profile.document import (
    Energy,
    MemoryCost,
    OperationCost,
    PartCost,
    Profile,
    Source,
    Spread,
    parse,
    read,
    write,
)
from firmware_bridge.profile.plot import draw
from firmware_bridge.profile.tables import comparison, table
from firmware_bridge.profile_cli import main
from firmware_bridge.recording import open_recorder
from firmware_bridge.session import Timing
from tests.bridge.test_session import SESSION


def count(value, more=0):
    return Spread(value, float(value), value + more)


PROFILE = Profile(
    whylite="1",
    model="beats",
    digest="ab" * 32,
    board="qemu-mps2-an386",
    core="cortex-m4f",
    unit="instructions",
    counter="SysTick",
    windows=4,
    parts=(
        PartCost("predict", count(1_000_000, 5000), 1.0, 500_000, stack=300),
        PartCost("gradcam", count(9_000), 1.009, 100, other=count(4000), stack=310),
        PartCost("integrated_gradients", count(24_000_000), 25.0, 9_000_000, steps=12),
    ),
    operations=(
        OperationCost("CONV_2D", "whylite_conv", "predict", 400_000, count(700_000)),
        OperationCost("CONV_2D", "whylite_conv", "predict", 100_000, count(290_000, 5000)),
        OperationCost("MUL", "whylite_multiply", "gradcam", 0, count(5_000)),
    ),
    memory=MemoryCost(4096, 8192, "TFLM", 20_000, 9_000, 2048, {".text": 20_000}, (Source("kernels", 5_000, 10, 0),)),
    energy=Energy({"predict": 1e-5}, measured=False, source="a data sheet"),
)


def test_a_profile_reads_back_as_it_was(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(write(PROFILE))
    assert read(path) == PROFILE


def document(**changes):
    return json.dumps(json.loads(write(PROFILE)) | changes).encode()


HOSTILE = {
    "no JSON": (b"{", "no profile"),
    "a list": (b"[]", "no object"),
    "deep": (b"[" * 100_000, "no profile"),
    "no text": (b"\xff\xfe", "no profile"),
    "of the future": (document(format=2), "format 2"),
    "not a number": (document().replace(b"20000", b"NaN"), "NaN is no number"),
    "no parts": (document(parts=[]), "parts"),
    "parts twice": (document(parts=2 * json.loads(document())["parts"]), "parts"),
    "an unknown unit": (document(unit="seconds"), "unit is 'seconds'"),
    "control characters": (document(board="\x1b[2J"), "not printable"),
    "an endless text": (document(model="m" * 10_000), "too long"),
    "an operation of nothing": (document(parts=json.loads(document())["parts"][:1]), "belongs to no part"),
    "text for a number": (document(windows="4"), "windows is not int"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_profile_is_refused(what):
    data, complaint = HOSTILE[what]
    with pytest.raises(ProfileError, match=complaint):
        parse(data, "p.json")


@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-5, 5))
def test_a_spread_goes_from_least_to_most(least, median, most):
    parts = json.loads(document())["parts"]
    parts[1]["count"] = {"least": least, "median": median, "most": most}
    if 0 <= least <= median <= most:
        parse(document(parts=parts), "p")
    else:
        with pytest.raises(ProfileError, match="least to most"):
            parse(document(parts=parts), "p")


def test_comparing_gives_ratios_of_the_same_operations():
    faster = dataclasses.replace(
        PROFILE,
        optimize="-O3",
        parts=(dataclasses.replace(PROFILE.parts[0], count=count(500_000)), *PROFILE.parts[2:]),
        operations=(
            dataclasses.replace(PROFILE.operations[0], kernel="whylite_conv_fast", count=count(350_000)),
            PROFILE.operations[1],
        ),
    )
    compared = compare(PROFILE, faster)
    found = {(change.part, change.what): change for change in compared.changes}
    assert found["predict", "in total"].ratio == 0.5
    assert found["gradcam", "in total"].after is None
    assert found["gradcam", "in total"].ratio is None
    assert found["predict", "CONV_2D conv -> conv_fast"].ratio == 0.5
    assert found["predict", "CONV_2D conv"].ratio == 1
    assert found["bytes", "flash"].ratio == 1
    assert any("optimize:  before, -O3 after" in note for note in compared.notes)
    assert "0.5000" in comparison(compared, "a.json", "b.json")


@pytest.mark.parametrize(
    ("field", "complaint"),
    [({"digest": "cd" * 32, "model": "steps"}, "models: beats and steps"), ({"board": "mine"}, "boards"),
     ({"unit": "cycles"}, "units: instructions and cycles")],
)  # fmt: skip
def test_different_things_are_not_compared(field, complaint):
    with pytest.raises(ProfileError, match=complaint):
        compare(PROFILE, dataclasses.replace(PROFILE, **field))


def test_the_table_fits_a_terminal_and_says_what_was_counted():
    said = table(PROFILE)
    assert max(map(len, said.splitlines())) <= 100
    assert "1,009,000    1.0090" in said
    assert "25.0000" in said
    assert "1,000,000 to 1,005,000 instructions" in said
    assert "4,000 of them outside of kernels" in said
    assert "an estimate from a data sheet" in said
    for never in ("cycles", " ms", "seconds"):
        assert never not in said


def test_operations_of_many_steps_are_said_to_be_of_one():
    cost = OperationCost("MUL", "whylite_multiply", "integrated_gradients", 0, count(90_000))
    said = table(dataclasses.replace(PROFILE, operations=(*PROFILE.operations, cost))).splitlines()
    assert "  integrated_gradients, one step of 12" in said
    assert "  gradcam" in said


def test_equal_profiles_are_equal_pictures():
    assert draw(PROFILE) == draw(PROFILE)
    assert draw(PROFILE) != draw(dataclasses.replace(PROFILE, model="other"))


def test_what_fits_is_decided_by_both_memories():
    built_for = boards()["qemu-mps2-an386"]
    small = Board("small", "t", "cortex-m4f", 1, flash=Memory(0, 19_992), ram=Memory(1 << 20, 9_000))
    found = {one.board: one for one in fit.fits(PROFILE.memory, small)}
    assert not found["small"].fits
    assert found["small"].exact
    enough = dataclasses.replace(small, flash=Memory(0, 20_000))
    assert {one.board: one.fits for one in fit.fits(PROFILE.memory, enough)}["small"]
    short_of_ram = dataclasses.replace(enough, ram=Memory(1 << 20, 8_992))
    assert not {one.board: one.fits for one in fit.fits(PROFILE.memory, short_of_ram)}["small"]
    assert built_for.name not in found
    assert "raspberry-pi-4" not in found


def test_this_machine_is_timed_with_its_own_runtime(bundle):
    profile = linux.here(bundle, windows=3)
    assert (profile.unit, profile.windows) == ("nanoseconds", 3)
    assert {"predict", *(head.method for head in bundle.manifest.heads)} <= set(profile.latency)
    assert all(part.ratio >= 1 for part in profile.parts)
    assert profile.latency["predict"].p50 <= profile.parts[0].count.most
    assert parse(write(profile).encode(), "p") == profile
    assert "p99" in table(profile)
    assert isinstance(profile.latency["predict"], Quantiles)


def test_a_recording_is_what_the_board_measured_and_of_this_bundle_alone(bundle, tmp_path):
    session = dataclasses.replace(SESSION, model_digest=bytes.fromhex(bundle.manifest.model_digest))
    timings = [
        Timing(number, {"quantize": 1000, "predict": 10_000 * (number + 1)}, {"gradcam": 5500}, True, False)
        for number in range(3)
    ]
    for name, first in (("right", session), ("wrong", SESSION)):
        with open_recorder(tmp_path / f"{name}.jsonl") as recorder:
            for moment, event in enumerate([first, *timings]):
                recorder.write(event, float(moment))
    found = linux.recorded(bundle, "raspberry-pi-4", tmp_path / "right.jsonl")
    assert (found.board, found.windows) == ("raspberry-pi-4", 3)
    assert found.parts[0].count.median == pytest.approx(21_000, rel=0.01)
    assert found.part("gradcam").ratio == pytest.approx(1 + 5500 / 21_000, rel=0.01)
    with pytest.raises(ProfileError, match="not that of bundle"):
        linux.recorded(bundle, "raspberry-pi-4", tmp_path / "wrong.jsonl")


@pytest.mark.parametrize("said", [b"", b"a console says hello\r\n\0"], ids=["nothing", "noise"])
def test_a_port_at_which_no_session_comes_is_given_up(bundle, monkeypatch, said):
    monkeypatch.setattr(linux, "_HELLO", 0.3)
    polls = itertools.chain(range(100), iter(lambda: pytest.fail("it waits for ever"), None))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = f"socket://127.0.0.1:{server.getsockname()[1]}"

        def caller():
            with server.accept()[0] as connection:
                connection.sendall(said)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=caller)
        thread.start()
        with pytest.raises(LinkError, match="no SESSION came from socket:") as raised:
            linux.listened(bundle, "raspberry-pi-5", port, progress=lambda what, part: next(polls))
        thread.join()
    assert raised.value.hint


@pytest.mark.parametrize(
    "arguments",
    [[], ["b.why", "--compare", "a", "b"], ["b.why", "--meter", "m"], ["b.why", "--joules", "predict=1"],
     ["b.why", "--meter", "m", "--joules", "predict=-1"], ["b.why", "--recording", "r.jsonl"],
     ["b.why", "--windows", "0"], ["--compare", "a", "b", "--plot", "p.png"]],
)  # fmt: skip
def test_wrong_usage_is_said(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["profile", *arguments])
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_bad_input_ends_with_2(bundle, tmp_path, capsys):
    path = tmp_path / "b.why"
    bundle.save(path)
    for arguments, complaint in (
        (["none.why"], "cannot read none.why"),
        ([str(path), "--board", "unicorn-cortex-m4"], "has no firmware"),
        ([str(path), "--board", "raspberry-pi-4"], "this machine's latencies are not its"),
        ([str(path), "--json", str(tmp_path / "no" / "p.json")], "cannot write"),
        (["--compare", str(path), str(path)], "is no profile"),
    ):
        assert main(["profile", *arguments]) == 2
        assert complaint in capsys.readouterr().err
