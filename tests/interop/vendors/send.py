"""Sends a message with a vendor's own client to another address than the vendor's. Standard input: a JSON object
{vendor, base, text, to}. Standard output: the id in the answer."""

import json
import sys


def slack(job):
    from slack_sdk import WebClient

    client = WebClient(token="xoxb-hush-token", base_url=job["base"] + "/api/")
    return client.chat_postMessage(channel=job["to"], text=job["text"])["ts"]


def line(job):
    from linebot.v3.messaging import ApiClient, Configuration, MessagingApi, PushMessageRequest, TextMessage

    with ApiClient(Configuration(host=job["base"], access_token="hush-token")) as client:
        message = PushMessageRequest(to=job["to"], messages=[TextMessage(text=job["text"])])
        return MessagingApi(client).push_message(message).sent_messages[0].id


def telnyx(job):
    from telnyx import Telnyx

    client = Telnyx(api_key="hush-key", base_url=job["base"] + "/v2", max_retries=0)
    sent = client.messages.send(from_="+15550000", to=job["to"], text=job["text"])
    return sent.data.id


def plivo(job):
    import plivo.rest.client

    # The client sets its address again with each request.
    plivo.rest.client.PLIVO_API_BASE_URI = job["base"] + "/v1/Account"
    client = plivo.RestClient("MAHUSHHUSHHUSHHUSH00", "hush-token")
    sent = client.messages.create(src="15550000", dst=job["to"], text=job["text"])
    return sent.message_uuid[0]


def messagebird(job):
    from messagebird import Client
    from messagebird.http_client import HttpClient

    client = Client("hush-key", http_client=HttpClient(job["base"], "hush-key", "test"))
    parameters = {"datacoding": "auto", "reference": job["reference"]}
    return client.message_create("Clinic", [job["to"]], job["text"], parameters).id


job = json.load(sys.stdin)
json.dump(globals()[job["vendor"]](job), sys.stdout)
