"""From a message's raw argument to texts that are worth tokenising."""
