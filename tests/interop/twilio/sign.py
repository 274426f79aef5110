"""Signs requests as Twilio does. Standard input: a JSON list of {token, url, and params (pairs) or
body}, with algorithm if it is not the default; standard output: a list of [url, signature]."""

import json
import sys

from twilio.request_validator import RequestValidator


class Parameters(dict):
    """Keeps all values of a name."""

    def getlist(self, name):
        return self[name]


def sign(job):
    validator = RequestValidator(job["token"])
    url, params = job["url"], Parameters()
    for name, value in job.get("params", []):
        params.setdefault(name, []).append(value)
    if "body" in job:
        url += ("&" if "?" in url else "?") + "bodySHA256=" + validator.compute_hash(job["body"])
    algorithm = job.get("algorithm")
    signature = validator.compute_signature(url, params, algorithm)
    assert validator.validate(url, job.get("body", params), signature, algorithm), url
    return [url, signature]


json.dump([sign(job) for job in json.load(sys.stdin)], sys.stdout)
