"""The distributed part: Celery app, tasks, batches in flight. Holds no Discogs rule."""
