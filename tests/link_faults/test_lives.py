"""Real processes killed at every phase, real ports that vanish: the host accounts for all of it."""

from __future__ import annotations

import pytest

from tests.link_faults.doomed import PHASES
from tests.link_faults.lives import (
    PtyCable,
    SocketCable,
    disconnects,
    faults_of_disconnects,
    faults_of_lives,
    lives,
)


def test_a_board_killed_at_every_phase_costs_the_frame_it_was_writing_and_no_other():
    phases = [*PHASES, "in SESSION", "in MAP", "after goodbye"]  # the last one ends what the one before has torn
    assert faults_of_lives(phases, *lives(phases)) == []


@pytest.mark.parametrize("cable", ["pty", "socket"])
def test_a_cable_pulled_again_and_again_ends_no_session_and_forges_no_record(cable, tmp_path):
    times = 10
    line = PtyCable(tmp_path) if cable == "pty" else SocketCable()
    assert faults_of_disconnects(times, *disconnects(line, times, seed=1)) == []
