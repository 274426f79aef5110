"""SMSGate, by its own Python client. Standard input: a JSON object {base, username, password, events, messages};
standard output: {readings: [what the client reads in an event's payload], sent: [ids]}."""

import json
import sys

from android_sms_gateway.client import APIClient
from android_sms_gateway.domain import Message, TextMessage
from android_sms_gateway.enums import MessagePriority
from android_sms_gateway.webhooks import SmsReceivedPayload

job = json.load(sys.stdin)
readings = []
for event in job["events"]:
    payload = SmsReceivedPayload.from_dict(event["payload"])
    readings.append(
        {
            "identity": payload.sender,
            "text": payload.message,
            "to": payload.recipient,
            "message_id": payload.message_id,
            "sim_number": payload.sim_number,
            "at": int(payload.received_at.timestamp()),
        }
    )
sent = []
with APIClient(job["username"], job["password"], base_url=job["base"]) as client:
    for message in job["messages"]:
        text = TextMessage(message.pop("text"))
        if "priority" in message:
            message["priority"] = MessagePriority(message["priority"])
        sent.append(client.send(Message(text_message=text, **message)).id)
json.dump({"readings": readings, "sent": sent}, sys.stdout)
