"""Breaking things on purpose, with counts."""
