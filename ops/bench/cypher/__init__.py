"""The statements of the benchmark, one per file."""
