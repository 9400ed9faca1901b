"""Discogs dumps to rows, and rows to Neo4j.

Knows nothing of Celery or Redis.
"""
