"""Commands that speak to the queue, and the command line's root."""
