"""Tests without network or server."""
