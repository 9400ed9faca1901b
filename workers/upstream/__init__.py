"""Records of upstream tasks, lost batches, the quarantine."""
