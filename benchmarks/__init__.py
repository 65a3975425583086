"""What explaining costs, measured."""
