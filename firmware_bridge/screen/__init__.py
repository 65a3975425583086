"""The monitor on a terminal: a screen of a device's session, results, explanations, latencies and losses, with keys."""
