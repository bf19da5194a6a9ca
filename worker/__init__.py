"""The screening engine and everything a worker process needs. Knows nothing of Celery."""
