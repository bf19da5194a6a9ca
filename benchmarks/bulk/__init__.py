"""``python -m benchmarks.bulk``: what bulk screening promises, on a corpus made for it."""
