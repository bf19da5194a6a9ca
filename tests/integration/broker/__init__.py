"""The transport: taking a message, giving it back, hearing of a new one."""
