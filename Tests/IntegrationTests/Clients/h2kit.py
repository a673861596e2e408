"""A blocking HTTP/2 client on python3-h2, frame by frame, for the scripts that need to see frames."""
import collections
import json
import select
import struct
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from hpack import NeverIndexedHeaderTuple as NeverIndexed

from kit import CASE_SECONDS, Mismatch, expect

Errors = h2.errors.ErrorCodes
Codes = h2.settings.SettingCodes
NAMES = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()


def literal(text):
    """A string of HPACK, up to 16 KB and without Huffman coding (RFC 7541 section 5.2)."""
    data = text.encode("latin-1")
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest = len(data) - 127
    return bytes([127, rest & 127 | 128, rest >> 7]) + data


class Stream:
    def __init__(self):
        self.interim, self.head, self.body, self.trailers = [], None, bytearray(), None
        self.has_ended, self.reset = False, None

    @property
    def status(self):
        return int(dict(self.head)[":status"]) if self.head else None

    @property
    def is_over(self):
        return self.has_ended or self.reset is not None

    def json(self):
        expect(self.status == 200 and self.has_ended, str(self))
        return json.loads(self.body)

    def value(self, name):
        return [value for key, value in self.head or [] if key == name]

    def __repr__(self):
        return (f"<head {self.head} interim {self.interim} body {bytes(self.body[:200])!r} of {len(self.body)} "
                f"trailers {self.trailers} ended {self.has_ended} reset {self.reset}>")


class Connection:
    """One connection. `acknowledges` false: no WINDOW_UPDATE is sent for the streams' data."""

    def __init__(self, options, host=None, settings=None, acknowledges=True, alpn=("h2",), upgraded=None):
        self.options, self.host = options, host or options.host
        self.acknowledges = acknowledges
        self.streams = collections.defaultdict(Stream)
        self.frames, self.goaways, self.pongs, self.pending, self.is_closed = [], [], 0, b"", False
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.update_settings(settings or {})
        self.h2.clear_outbound_data_buffer()
        if upgraded:
            self.socket, self.pending = upgraded(self.h2)
        else:
            self.socket = options.connect(*alpn)
            if settings:
                for code, value in settings.items():
                    self.h2.local_settings[code] = value
                self.h2.local_settings.acknowledge()
            self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.socket.sendall(data)

    # Requests

    def head(self, path, method="GET", fields=(), authority=None):
        return [(":method", method), (":scheme", self.options.scheme), (":authority", authority or self.host),
                (":path", path), *fields]

    def start(self, path, method="GET", fields=(), end=True, head=None):
        number = self.h2.get_next_available_stream_id()
        head = [(name.encode(), value.encode("latin-1")) for name, value in head or self.head(path, method, fields)]
        self.h2.send_headers(number, head, end_stream=end)
        self.flush()
        return number

    def send(self, number, data, end=False, wait=True):
        """Sends what the windows let through; with `wait` all of it. Returns how many bytes went."""
        sent = 0
        while sent < len(data):
            size = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(data) - sent)
            if size > 0:
                self.h2.send_data(number, data[sent:sent + size])
                self.flush()
                sent += size
                self.pump(lambda: True)
            elif wait and not self.streams[number].is_over:
                self.pump(lambda: self.h2.local_flow_control_window(number) > 0 or self.streams[number].is_over)
            else:
                return sent
        if end:
            self.h2.end_stream(number)
            self.flush()
        return sent

    def request(self, path, method="GET", fields=(), body=None, trailers=None):
        """A request and its whole answer."""
        number = self.start(path, method, fields, end=body is None and trailers is None)
        if body is not None:
            self.send(number, body, end=trailers is None)
        if trailers:
            self.h2.send_headers(number, trailers, end_stream=True)
            self.flush()
        return self.finish(number)

    def finish(self, *numbers, seconds=CASE_SECONDS):
        for number in numbers:
            self.pump(lambda: self.streams[number].is_over, seconds)
        return self.streams[numbers[-1]]

    def reset(self, number, code=Errors.CANCEL):
        self.h2.reset_stream(number, code)
        self.flush()

    def send_raw(self, kind, flags, number, payload):
        """A frame that python3-h2 would not send."""
        length = struct.pack(">I", len(payload))[1:]
        self.socket.sendall(length + bytes([kind, flags]) + struct.pack(">I", number) + payload)

    def start_raw(self, head, end=True):
        """A head as it is, unchecked."""
        number = self.h2.get_next_available_stream_id()
        # python3-h2 is told of a harmless request of the same number, whose bytes are thrown away. Neither that nor
        # the real head adds to the table of HPACK (RFC 7541 section 6.2.2), so other requests may follow.
        harmless = [(":method", "GET"), (":scheme", "http"), NeverIndexed(":authority", "a"), (":path", "/")]
        self.h2.send_headers(number, harmless, end_stream=end)
        self.h2.data_to_send()
        self.send_raw(1, 4 | end, number, b"".join(b"\0" + literal(name) + literal(value) for name, value in head))
        return number

    # What comes

    def pump(self, until, seconds=CASE_SECONDS):
        """Reads until `until()` holds, which is asked at least once after what is already there was read."""
        deadline = time.monotonic() + seconds
        while True:
            self.take_frames()
            is_enough = until()
            pending = self.options.ca and not self.is_closed and self.socket.pending()
            left = 0 if is_enough or pending else max(0, deadline - time.monotonic())
            ready = pending or (not self.is_closed and select.select([self.socket], [], [], left)[0])
            if is_enough and not ready:
                return
            if not ready:
                raise Mismatch(f"nothing came; closed {self.is_closed}, goaways {self.goaways}, frames "
                               f"{self.frames[-20:]}, streams {dict(self.streams)}"[:3000])
            try:
                data = self.socket.recv(262144)
            except ConnectionError:
                data = b""
            self.is_closed = not data
            self.pending += data
            if is_enough and self.is_closed:
                return

    def take_frames(self):
        """Notes each frame, and gives all but GOAWAY to python3-h2, for which that frame ends everything at once."""
        while len(self.pending) >= 9:
            size = 9 + int.from_bytes(self.pending[:3], "big")
            if len(self.pending) < size:
                return
            frame, self.pending = self.pending[:size], self.pending[size:]
            kind, number = frame[3], int.from_bytes(frame[5:9], "big")
            self.frames.append((NAMES[kind] if kind < len(NAMES) else kind, number, size - 9))
            if kind == 7:
                last, code = struct.unpack(">II", frame[9:17])
                self.goaways.append((last, Errors(code).name, frame[17:]))
                continue
            for event in self.h2.receive_data(frame):
                self.take(event)
            self.flush()

    def take(self, event):
        number = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.streams[number].interim.append(event.headers)
        elif isinstance(event, h2.events.ResponseReceived):
            self.streams[number].head = event.headers
        elif isinstance(event, h2.events.DataReceived):
            self.streams[number].body += event.data
            if event.flow_controlled_length and self.acknowledges:
                self.h2.acknowledge_received_data(event.flow_controlled_length, number)
            elif event.flow_controlled_length:
                self.h2.increment_flow_control_window(event.flow_controlled_length)  # the connection's only
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[number].trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            self.streams[number].has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            code = event.error_code
            self.streams[number].reset = getattr(code, "name", code)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
