"""What pywa reads in WhatsApp's updates, whether it accepts their signatures, and what it sends. Standard input: a
JSON object {base, phone_id, token, app_secret, updates: [{body, signature}], messages}. Standard output: {updates:
[{taken, messages, statuses}], sent: [ids]}."""

import json
import sys

import httpx
from pywa import WhatsApp, handlers

job = json.load(sys.stdin)
session = httpx.Client()
client = WhatsApp(
    job["phone_id"], job["token"], session=session, app_secret=job["app_secret"], server=None, filter_updates=False
)
session.base_url = job["base"]
seen = {}


def message(_, it):
    text = getattr(it, "text", None) or getattr(it, "caption", None) or getattr(it, "title", None)
    time = int(it.timestamp.timestamp())
    seen["messages"].append({"identity": it.from_user.wa_id, "text": text or "", "external_id": it.id, "at": time})


def status(_, it):
    seen["statuses"].append({"external_id": it.id, "identity": it.from_user.wa_id, "status": it.status.value})


for kind in (handlers.MessageHandler, handlers.CallbackButtonHandler, handlers.CallbackSelectionHandler):
    client.add_handlers(kind(message))
client.add_handlers(handlers.MessageStatusHandler(status))

updates = []
for update in job["updates"]:
    body = update["body"].encode()
    seen = {"messages": [], "statuses": []}
    taken = client.webhook_update_validator(body, update["signature"]) is None
    if taken:
        client.webhook_update_handler(body)
    updates.append({"taken": taken, **seen})
sent = [client.send_message(**message).id for message in job["messages"]]
json.dump({"updates": updates, "sent": sent}, sys.stdout)
