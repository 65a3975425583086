"""The sending side of the link: what the device finds out, in order of worth, as fine as the line has time for."""
