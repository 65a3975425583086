"""Who has a port open is known by name, across processes and users."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import contextmanager

import pytest

from edge.errors import LinkError
from edge.holders import holders
from edge.wire.port import Port

HOLD = "print(flush=True); sys.stdin.read()"
PLAIN = f"import sys; port = open(sys.argv[1], 'rb', buffering=0); {HOLD}"
AS_THE_LINK_DOES = f"import sys; from edge.wire.port import Port; port = Port(sys.argv[1]); {HOLD}"


@contextmanager
def holding(code, port):
    """A process that has ``port`` open until the block ends."""
    command = [sys.executable, "-c", code, port]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"\n"
        yield process
        process.stdin.close()


@pytest.fixture
def port():
    """A pty whose own end is not open anywhere."""
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    yield name
    os.close(master)


def test_a_port_that_nobody_has_open_has_no_holders(port):
    assert holders(port) == ()


def test_the_holder_that_locked_the_port_is_named_first(port, tmp_path):
    alias = tmp_path / "by-id"
    alias.symlink_to(port)
    with holding(PLAIN, port) as reader, holding(AS_THE_LINK_DOES, str(alias)) as owner:
        found = holders(str(alias))
        assert [(holder.pid, holder.locked) for holder in found] == [(owner.pid, True), (reader.pid, False)]
        assert found[0].command.startswith(f"{sys.executable} -c import sys; from edge.wire.port")
        assert str(found[0]) == f"`{found[0].command}` (pid {owner.pid})"
    assert holders(port) == ()


def test_a_command_line_is_cut_short_and_cannot_command_our_terminal(port):
    with holding(f"{PLAIN}\n# \x1b[2J" + "x" * 500, port):
        (holder,) = holders(port)
    assert holder.command.isprintable()
    assert len(holder.command) == 103


def test_another_user_learns_who_locked_the_port(port):
    """Of another user's process its open files are secret, and its locks are not."""
    look = f"import os; from edge.holders import holders; os.getuid() or os.setuid(65534); print(holders({port!r}))"
    with holding(AS_THE_LINK_DOES, port) as owner:
        seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert seen.startswith(f"(Holder(pid={owner.pid}, ")
    assert "locked=True" in seen


@pytest.mark.parametrize("name", ["", "/dev/nowhere", "socket://127.0.0.1:5000", "loop://", "\x00"])
def test_what_is_no_file_has_no_holders(name):
    assert holders(name) == ()


def test_the_second_to_open_a_port_is_told_who_was_first(port):
    """Root is no exception: what refuses it is a lock, not the mode of the tty."""
    with holding(AS_THE_LINK_DOES, port) as first:
        with pytest.raises(LinkError) as caught:
            Port(port)
        assert caught.value.cause.startswith(f"cannot open port {port}: `{sys.executable} -c ")
        assert caught.value.cause.endswith(f" (pid {first.pid}) has it open")
        assert "end that one first" in caught.value.hint
    Port(port).close()


def test_a_lock_whose_holder_is_out_of_sight_is_still_said(port, monkeypatch):
    monkeypatch.setattr("edge.wire.port.holders", lambda path: ())
    with holding(AS_THE_LINK_DOES, port), pytest.raises(LinkError) as caught:
        Port(port)
    assert caught.value.cause == f"cannot open port {port}: another program has it open"
    assert f"sudo fuser -v {port}" in caught.value.hint
