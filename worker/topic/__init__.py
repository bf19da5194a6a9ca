"""The result topic: Redis Streams that results and alarms are published to, each exactly once."""
