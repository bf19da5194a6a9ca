"""What an operator sees of a running worker: logs, health, errors. Never the screened text."""
