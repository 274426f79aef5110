"""What python-telegram-bot reads in updates, and what it sends. Standard input: a JSON object {base, token, updates,
messages}. Standard output: {updates: [{body, reading}], sent: [message ids]}. `body` is the update as the library
writes it; `reading` is null if the update is not a message."""

import asyncio
import json
import sys

from telegram import Bot, Update


def reading(update):
    message = update.message
    if message is None:
        return None
    return {
        "identity": str(message.chat.id),
        "text": message.text or message.caption or "",
        "external_id": str(update.update_id),
        "received_at": message.date.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "message_id": str(message.message_id),
        "from": str(message.from_user.id),
        "username": message.from_user.username,
        "contact": message.contact and message.contact.phone_number,
    }


async def send(job):
    async with Bot(job["token"], base_url=f"{job['base']}/bot") as bot:
        return [(await bot.send_message(**message)).message_id for message in job["messages"]]


job = json.load(sys.stdin)
updates = [Update.de_json(update) for update in job["updates"]]
sent = asyncio.run(send(job)) if job["messages"] else []
json.dump({"updates": [{"body": it.to_json(), "reading": reading(it)} for it in updates], "sent": sent}, sys.stdout)
