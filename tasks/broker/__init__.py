"""How messages leave their queue: a Redis transport for Kombu that cannot lose one on the way."""
