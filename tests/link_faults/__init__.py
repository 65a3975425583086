"""A campaign against the link: what a board sends goes through a channel that damages it, and a ledger is kept."""
