"""The link: frames, records, map codings and ports, for both of its ends. ``wire.cddl`` is the contract."""
