"""Sends a message with Twilio's client to another address than Twilio's. Standard input: a JSON
object {base, account_sid, auth_token, message}; standard output: the sid in the answer."""

import json
import sys

from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client


class Elsewhere(TwilioHttpClient):
    def __init__(self, base):
        super().__init__(timeout=30)
        self.base = base

    def request(self, method, url, *args, **kwargs):
        here = url.replace("https://api.twilio.com", self.base, 1)
        assert here != url, url
        return super().request(method, here, *args, **kwargs)


job = json.load(sys.stdin)
client = Client(job["account_sid"], job["auth_token"], http_client=Elsewhere(job["base"]))
json.dump(client.messages.create(**job["message"]).sid, sys.stdout)
