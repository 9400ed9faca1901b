"""The commands of `graphinator`."""
