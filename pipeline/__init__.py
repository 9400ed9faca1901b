"""Discogs dumps to rows, and rows to the graph. Knows Discogs and Neo4j, nothing of Celery or Redis."""
