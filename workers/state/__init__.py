"""Everything in Redis while work is in flight."""
