"""The statements of the baseline, one a file."""
