"""Dump files to chunks of raw records."""
