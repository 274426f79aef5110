"""Signs requests as vendors do, with their own libraries if these can sign. If a library only verifies, this signs, and
the library verifies the result. Standard input: a JSON list of {vendor, secret, url, body, params}. Standard output: a
list of objects of headers."""

import base64
import hashlib
import hmac
import json
import sys
import time


def slack(job):
    from slack_sdk.signature import SignatureVerifier

    verifier, now = SignatureVerifier(job["secret"]), str(int(time.time()))
    headers = {
        "X-Slack-Request-Timestamp": now,
        "X-Slack-Signature": verifier.generate_signature(timestamp=now, body=job["body"]),
    }
    assert verifier.is_valid_request(job["body"], headers)
    return headers


def line(job):
    from linebot.v3.webhook import SignatureValidator

    mac = hmac.new(job["secret"].encode(), job["body"].encode(), hashlib.sha256).digest()
    signature = base64.b64encode(mac).decode()
    assert SignatureValidator(job["secret"]).validate(job["body"], signature)
    return {"X-Line-Signature": signature}


def telnyx(job):
    from nacl.signing import SigningKey
    from telnyx.lib.webhook_verification import verify_webhook_signature

    key, now = SigningKey(bytes.fromhex(job["secret"])), str(int(time.time()))
    signature = key.sign(f"{now}|{job['body']}".encode()).signature
    headers = {
        "Telnyx-Timestamp": now,
        "Telnyx-Signature-Ed25519": base64.b64encode(signature).decode(),
    }
    verify_webhook_signature(job["body"], headers, base64.b64encode(bytes(key.verify_key)).decode())
    return headers


def vonage(job):
    import jwt
    import vonage_jwt

    body = hashlib.sha256(job["body"].encode()).hexdigest()
    claims = {"iat": int(time.time()), "jti": "c5ba8f24", "iss": "Vonage", "payload_hash": body}
    token = jwt.encode(claims, job["secret"], algorithm="HS256")
    assert vonage_jwt.verify_signature(token, job["secret"])
    return {"Authorization": "Bearer " + token}


def plivo(job):
    from plivo.utils import validate_signature

    url, nonce = job["url"], "12345678901234567890"
    mac = hmac.new(job["secret"].encode(), (url.split("?")[0] + nonce).encode(), hashlib.sha256).digest()
    signature = base64.b64encode(mac).decode()
    assert validate_signature(url, nonce, signature, job["secret"])
    return {"X-Plivo-Signature-V2": signature, "X-Plivo-Signature-V2-Nonce": nonce}


def plivo_v3(job):
    from plivo.utils import signature_v3

    url, nonce = job["url"], "12345678901234567890"
    signed = signature_v3.construct_post_url(url, job["params"]).decode()
    signature = signature_v3.get_signature_v3(job["secret"], signed, nonce).decode()
    assert signature_v3.validate_v3_signature("POST", url, nonce, job["secret"], signature, job["params"])
    return {"X-Plivo-Signature-V3": signature, "X-Plivo-Signature-V3-Nonce": nonce}


def messagebird(job):
    import jwt
    from messagebird.request_validator import RequestValidator

    now, sha256 = int(time.time()), lambda text: hashlib.sha256(text.encode()).hexdigest()
    claims = {"iss": "MessageBird", "nbf": now, "exp": now + 60, "jti": "j1", "url_hash": sha256(job["url"])}
    if job["body"]:
        claims["payload_hash"] = sha256(job["body"])
    token = jwt.encode(claims, job["secret"], algorithm="HS256")
    RequestValidator(job["secret"]).validate_signature(token, job["url"], job["body"].encode())
    return {"MessageBird-Signature-JWT": token}


json.dump([globals()[job["vendor"]](job) for job in json.load(sys.stdin)], sys.stdout)
