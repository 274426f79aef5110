"""Infobip, by its own Python client. Standard input: a JSON object {base, key, inbound, reports, message}, in which
`inbound` and `reports` are bodies that Infobip posts. Standard output: {inbound, reports: what the client reads in
them, sent: the id in the answer}."""

import json
import sys

from infobip_api_client.api.sms_api import SmsApi
from infobip_api_client.api_client import ApiClient
from infobip_api_client.configuration import Configuration
from infobip_api_client.models import (
    SmsDeliveryResult,
    SmsDestination,
    SmsInboundMessageResult,
    SmsMessage,
    SmsMessageContent,
    SmsMessageDeliveryReporting,
    SmsRequest,
    SmsTextContent,
    SmsWebhooks,
)

job = json.load(sys.stdin)


def inbound(it):
    time = int(it.received_at.timestamp())
    return {"identity": it.var_from, "text": it.text, "external_id": it.message_id, "to": it.to, "at": time}


def report(it):
    time = int(it.done_at.timestamp())
    return {"identity": it.to, "external_id": it.message_id, "state": it.status.group_name, "at": time}


messages = SmsInboundMessageResult.from_dict(job["inbound"]).results
reports = SmsDeliveryResult.from_dict(job["reports"]).results
sent = None
if message := job.get("message"):
    with ApiClient(Configuration(host=job["base"], api_key=job["key"])) as client:
        webhooks = SmsWebhooks(delivery=SmsMessageDeliveryReporting(url=message["url"]))
        request = SmsMessage(
            sender=message["from"],
            destinations=[SmsDestination(to=message["to"])],
            content=SmsMessageContent(SmsTextContent(text=message["text"])),
            webhooks=webhooks,
        )
        answer = SmsApi(client).send_sms_messages(sms_request=SmsRequest(messages=[request]))
        sent = answer.messages[0].message_id
json.dump({"inbound": [inbound(it) for it in messages], "reports": [report(it) for it in reports], "sent": sent}, sys.stdout)
