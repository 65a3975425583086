"""What a bundle costs on a board: counted per kernel call, measured in bytes, compared, drawn."""
