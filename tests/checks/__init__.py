"""Checks of the project's own code that no published linter makes."""
