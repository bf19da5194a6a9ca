"""Commands that need no queue, one file each. Heavy libraries are imported when a command runs."""
