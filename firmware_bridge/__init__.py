"""The host end of the link: monitors, records and shows what a board says."""
