"""What every test starts from."""

import math
import signal

import pytest
from hypothesis import HealthCheck, settings

from edge.link import outbox, pacer
from firmware_bridge.nullmodem import NullModem

# A shell makes its background jobs ignore SIGINT, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else runs on the machine.
settings.register_profile("whylite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whylite")


@pytest.fixture
def modem():
    with NullModem() as modem:
        yield modem


@pytest.fixture
def unhurried(monkeypatch):
    """A sender here takes its time: on a slow machine, too, it drops no map as stale, and thins and pads nothing."""
    monkeypatch.setattr(outbox, "STALE", math.inf)
    monkeypatch.setattr(pacer, "_SPAN", math.inf)
    monkeypatch.setattr(pacer, "_PADDING", 0)
