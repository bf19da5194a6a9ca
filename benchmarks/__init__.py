"""Measurements of speed. Timings are read here and never tested."""
