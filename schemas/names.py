"""Names that producers and consumers rely on. A change of any of them is a breaking change."""

from typing import Final

TASK_SCREEN = "alknet_firewall.screen"
TASK_DELIVER = "alknet_firewall.deliver"

QUEUE_INTERACTIVE = "screening"
QUEUE_BULK = "screening.bulk"
QUEUE_WEBHOOKS = "webhooks"

STREAM_RESULTS = "firewall:results"
STREAM_ALARMS = "firewall:alarms"
STREAM_DEAD = "firewall:dead"
STREAM_DRIFT = "firewall:drift"

EVENT_FIELD = "event"
"""The one field of a stream entry: a CloudEvents 1.0 envelope as JSON text."""

EVENT_RESULT: Final = "alknet.firewall.result.v1"
EVENT_ALARM: Final = "alknet.firewall.alarm.v1"
EVENT_DEAD_LETTER: Final = "alknet.firewall.dead_letter.v1"
EVENT_DRIFT: Final = "alknet.firewall.drift.v1"
EVENT_ALARM_DIGEST: Final = "alknet.firewall.alarm_digest.v1"
EVENT_PING: Final = "alknet.firewall.ping.v1"
