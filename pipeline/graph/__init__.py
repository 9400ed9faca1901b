"""The graph: schema, writes, derived relationships, statistics, comparison, summary."""
