"""What every test starts from."""

import signal

import pytest
from hypothesis import HealthCheck, settings

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
