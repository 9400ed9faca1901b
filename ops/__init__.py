"""What a person runs: the command, the embedded stack, the bench."""

__version__ = "0.1.0"
