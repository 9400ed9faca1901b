"""The command `graphinator`, the embedded stack, the benchmark."""

__version__ = "0.1.0"
