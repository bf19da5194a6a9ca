"""Receive alarms: verify the signature, act once per id, answer at once.

pip install fastapi uvicorn standardwebhooks
WEBHOOK_SECRET=whsec_… uvicorn webhook_receiver:app --port 8000
"""

import os

from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError

app = FastAPI()
webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()  # in earnest: a table or a Redis key that lives for some days


@app.post("/alarms", status_code=204)
async def receive(request: Request) -> None:
    try:
        event = webhook.verify(await request.body(), dict(request.headers))
    except (WebhookVerificationError, ValueError):
        raise HTTPException(401, "the signature does not fit") from None
    message_id = request.headers["webhook-id"]
    if message_id in seen:  # delivered at least once: a repetition has the same id
        return
    seen.add(message_id)
    if event["type"] == "alknet.firewall.alarm.v1":
        alarm = event["data"]
        print(alarm["severity"], alarm["signal"], alarm["job_id"], alarm["item_id"], flush=True)
