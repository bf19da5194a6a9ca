"""Screening: batches for the engine, scores to verdicts, tokens to evidence."""
