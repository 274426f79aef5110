"""A telephone network's SMSC in SMPP 3.4, on the port of 127.0.0.1 in the argument. Any client may bind.

Standard input: a line for each message that a phone sends: FROM TO DATA-CODING OCTETS-IN-HEX.
Standard output: a line of JSON for each message that is submitted. The last two digits of its number determine its
fate, by FATES; any other number is delivered. A submission to 00 is refused."""

import asyncio
import json
import struct
import sys

BINDS, UNBIND, SUBMIT_SM, DELIVER_SM, ENQUIRE_LINK = (1, 2, 9), 6, 4, 5, 0x15
RESPONSE, OK, INVALID_DESTINATION = 0x80000000, 0, 0x0B
FATES = {"02": "UNDELIV", "03": "EXPIRED", "04": "REJECTD", "05": "ACCEPTD", "06": "UNKNOWN"}
sessions = set()


class Reader:
    """The fields of a PDU, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def octets(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self):
        return self.octets(1)[0]

    def text(self):
        end = self.data.index(0, self.at)
        text, self.at = self.data[self.at : end].decode("ascii"), end + 1
        return text


class Session:
    def __init__(self, writer):
        self.writer, self.sent = writer, 0

    def send(self, command, body=b"", status=OK, sequence=None):
        if sequence is None:
            self.sent += 1
            sequence = self.sent
        self.writer.write(struct.pack("!IIII", 16 + len(body), command, status, sequence) + body)

    def deliver(self, source, destination, coding, octets, esm_class=0):
        addresses = b"\0\1\1" + source.encode() + b"\0\1\1" + destination.encode() + b"\0"
        flags = bytes([esm_class, 0, 0]) + b"\0\0" + bytes([0, 0, coding, 0, len(octets)])
        self.send(DELIVER_SM, addresses + flags + octets)

    def submitted(self, body, sequence):
        fields = Reader(body)
        fields.text()
        fields.octets(2)
        source = fields.text()
        fields.octets(2)
        destination = fields.text()
        esm_class = fields.octets(3)[0]
        fields.text()
        fields.text()
        wants_report = fields.octets(2)[0] & 1
        coding = fields.octets(2)[0]
        octets = fields.octets(fields.number())
        if destination.endswith("00"):
            return self.send(SUBMIT_SM | RESPONSE, status=INVALID_DESTINATION, sequence=sequence)
        message = f"{id(self) % 9973}{sequence}"
        self.send(SUBMIT_SM | RESPONSE, message.encode() + b"\0", sequence=sequence)
        seen = {"from": source, "to": destination, "coding": coding, "hex": octets.hex(), "udh": bool(esm_class & 0x40)}
        print(json.dumps(seen), flush=True)
        if wants_report:
            state = FATES.get(destination[-2:], "DELIVRD")
            code = "000" if state == "DELIVRD" else "034"
            receipt = (
                f"id:{message} sub:001 dlvrd:001 submit date:2611271803 done date:2611271804 "
                f"stat:{state} err:{code} text:"
            )
            report = (destination, source, 0, receipt.encode(), 4)
            # By then the gateway must have stored the message's id.
            asyncio.get_running_loop().call_later(0.3, self.deliver, *report)


async def serve(reader, writer):
    session = Session(writer)
    try:
        while True:
            length, command, _, sequence = struct.unpack("!IIII", await reader.readexactly(16))
            body = await reader.readexactly(length - 16)
            if command in BINDS:
                session.send(command | RESPONSE, b"smsc\0", sequence=sequence)
                sessions.add(session)
                print("bound", flush=True)
            elif command == SUBMIT_SM:
                session.submitted(body, sequence)
            elif command in (ENQUIRE_LINK, UNBIND):
                session.send(command | RESPONSE, sequence=sequence)
    except asyncio.IncompleteReadError:
        sessions.discard(session)


async def main(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    typed = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(typed), sys.stdin)
    async with server:
        while line := await typed.readline():
            source, destination, coding, octets = line.decode().rstrip("\n").split(" ")
            for session in sessions:
                session.deliver(source, destination, int(coding), bytes.fromhex(octets))


asyncio.run(main(int(sys.argv[1])))
