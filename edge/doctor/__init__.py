"""``whylite doctor``: what keeps WhyLite from running on this machine, or from running well, and what to do."""
