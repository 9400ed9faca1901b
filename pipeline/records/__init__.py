"""Raw records to rows."""
