"""Bulk runs over the queue: jobs in, results back from the result topic, and what others may know of a run."""
