"""What a user would write or pick instead. Each is a process of its own that loads its model once."""
