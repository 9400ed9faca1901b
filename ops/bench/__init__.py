"""The benchmark: records per second and peak memory. Run `python -m ops.bench`."""
