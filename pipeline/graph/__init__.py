"""Rows to the graph, and the graph compared, counted, summed up."""
