"""Recordings: every event with the time at which it came, as JSON lines for eyes or as MCAP for archives."""

from firmware_bridge.recording.damage import Damage
from firmware_bridge.recording.files import Reader, Recorder, Recording, load, open_recorder

__all__ = ["Damage", "Reader", "Recorder", "Recording", "load", "open_recorder"]
