"""Celery's and kombu's Redis parts, adapted."""
