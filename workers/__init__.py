"""The distributed part: Celery app, chords, event loop, what is in flight. Holds no Discogs rule."""
