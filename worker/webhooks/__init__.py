"""Webhooks: alarms delivered to endpoints, signed, at least once, and never by way of an attacker's URL."""
