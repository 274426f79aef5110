"""A demo provider for trying Postern: it accepts sends, reports each as delivered, and lets you type messages.

    python3 provider.py [INGRESS [ADDRESS:PORT]]

Its page is at ADDRESS:PORT, by default 127.0.0.1:9009. INGRESS is by default http://127.0.0.1:8080; its backend must be
called `provider`, as in deploy/docker/postern.toml. Nothing is stored: the page shows the last hundred messages.
"""

import html
import itertools
import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INGRESS = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
ADDRESS, PORT = (sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:9009").rsplit(":", 1)
REPORT_AFTER = 1.0  # seconds
REPEAT_AFTER = (2, 4, 8, 16, 32)  # seconds, if the ingress did not take a report
LARGEST = 65536  # bytes of a request's body

# A restart must not give the same ids again.
started = int(time.time())
numbers = itertools.count(1)
messages = deque(maxlen=100)

PAGE = """<!doctype html><title>Demo provider</title>
<form method=post action=/type>
<input name=identity value="+15550100" required> <input name=text placeholder="What a person writes" size=50 autofocus required>
<button>Send to Postern</button></form>
<p><a href="/">Look again</a></p><table>{}</table>"""


def post(path, fields):
    """Posts `fields` to the ingress, and returns what it answered."""
    body = urllib.parse.urlencode(fields).encode()
    try:
        with urllib.request.urlopen(f"{INGRESS}{path}", body, timeout=10) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as refused:
        return f"{refused.code} {refused.read(200).decode(errors='replace')}"
    except OSError as error:
        return str(error)


def report(external_id):
    """Reports a message as delivered, and repeats that if need be, as providers do."""
    fields = {"external_id": external_id, "state": "delivered"}
    for pause in (*REPEAT_AFTER, None):
        answered = post("/backends/provider/status", fields)
        messages.appendleft(("report", external_id, answered))
        if answered == "200" or pause is None:
            return
        time.sleep(pause)


class Provider(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/":
            return self.answer(404, "text/plain", "not found")
        cells = ("".join(f"<td>{html.escape(cell)}" for cell in message) for message in list(messages))
        self.answer(200, "text/html; charset=utf-8", PAGE.format("".join(f"<tr>{row}" for row in cells)))

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST:
            return self.answer(413, "text/plain", "too large")
        form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode(errors="replace")))
        if self.path == "/send":
            external_id = f"demo-{started}-{next(numbers)}"
            messages.appendleft(("to " + form.get("to", ""), form.get("text", ""), external_id))
            timer = threading.Timer(REPORT_AFTER, report, [external_id])
            # The program ends without it.
            timer.daemon = True
            timer.start()
            self.answer(200, "application/json", json.dumps({"id": external_id}))
        elif self.path == "/type":
            answered = post("/backends/provider", form)
            messages.appendleft(("from " + form.get("identity", ""), form.get("text", ""), answered))
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer(404, "text/plain", "not found")

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Numbers and texts stay out of the log."""


if __name__ == "__main__":
    # As the first process of a container, it would otherwise ignore SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer((ADDRESS, int(PORT)), Provider).serve_forever()
