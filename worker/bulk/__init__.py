"""Bulk screening: rows in from files, jobs out, records and a report back. Knows no queue; ``tasks.bulk`` does."""
