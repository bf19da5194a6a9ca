"""The Celery application: the only package that knows Celery."""
