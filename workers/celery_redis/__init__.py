"""Parts of Celery and kombu for Redis, adapted."""
