// The echo endpoint /ws: RFC 6455 handshake and frames. SHA-1 is the one of RFC 3174, for the handshake only.
#define _GNU_SOURCE
#include "server.h"

#include <string.h>

enum { FRAME_LIMIT = 1024 * 1024 };
enum { OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

static uint32_t rotated(uint32_t word, unsigned bits) { return word << bits | word >> (32 - bits); }

static void sha1_block(uint32_t state[5], const unsigned char *block) {
    uint32_t w[80] = {0};
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 4; j++) w[i] = w[i] << 8 | block[4 * i + j];
    for (int i = 16; i < 80; i++) w[i] = rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t mix = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
        uint32_t constant = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
        uint32_t next = rotated(a, 5) + mix + e + constant + w[i];
        e = d, d = c, c = rotated(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

// For messages of at most 119 bytes: the key of a handshake has 24, the fixed text 36.
static void sha1(const void *message, size_t count, unsigned char digest[20]) {
    unsigned char padded[128] = {0};
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(padded, message, count);
    padded[count] = 0x80;
    size_t total = count < 56 ? 64 : 128;
    padded[total - 2] = (unsigned char)(count * 8 >> 8);
    padded[total - 1] = (unsigned char)(count * 8);
    for (size_t at = 0; at < total; at += 64) sha1_block(state, padded + at);
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const unsigned char digest[20], char text[29]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 7; i++) {
        uint32_t three = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8;
        if (i < 6) three |= digest[3 * i + 2];
        for (int j = 0; j < 4; j++) text[4 * i + j] = alphabet[three >> (18 - 6 * j) & 63];
    }
    text[27] = '=';
    text[28] = 0;
}

void serve_websocket(struct connection *c) {
    static const char fixed[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    struct slice key = c->request.websocket_key;
    if (!same_ignoring_case(c->request.upgrade, "websocket") || key.count != 24)
        return answer_text(c, 426, "a WebSocket handshake is needed\n");
    char message[24 + sizeof fixed], accept[29];
    unsigned char digest[20];
    memcpy(message, key.bytes, 24);
    memcpy(message + 24, fixed, sizeof fixed);
    sha1(message, 24 + sizeof fixed - 1, digest);
    base64(digest, accept);
    append_text(&c->out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    append_format(&c->out, "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    c->mode = MODE_WEBSOCKET;
}

static void send_frame(struct connection *c, unsigned char first, const char *payload, size_t count) {
    unsigned char head[10] = {first, (unsigned char)(count < 126 ? count : count < 65536 ? 126 : 127)};
    size_t head_count = count < 126 ? 2 : count < 65536 ? 4 : 10;
    for (size_t i = 2; i < head_count; i++) head[i] = (unsigned char)((uint64_t)count >> 8 * (head_count - 1 - i));
    append(&c->out, head, head_count);
    append(&c->out, payload, count);
}

void close_websocket(struct connection *c, unsigned code) {
    char reason[2] = {(char)(code >> 8), (char)code};
    send_frame(c, 0x80 | OPCODE_CLOSE, reason, 2);
    c->ending = CLOSE;
}

// Head of the frame at the front of the input: its size and that of the payload. False when more bytes are needed.
static bool frame_head(const struct connection *c, size_t *head_count, uint64_t *payload_count) {
    const unsigned char *bytes = (const unsigned char *)c->in.bytes + c->in.start;
    if (pending(&c->in) < 2) return false;
    size_t length_count = (bytes[1] & 127) == 126 ? 2 : (bytes[1] & 127) == 127 ? 8 : 0;
    *head_count = 2 + length_count + 4;
    if (pending(&c->in) < *head_count) return false;
    *payload_count = length_count ? 0 : bytes[1] & 127;
    for (size_t i = 0; i < length_count; i++) *payload_count = *payload_count << 8 | bytes[2 + i];
    return true;
}

// Echoes one frame: data with its opcode and FIN as they came, PING as PONG, CLOSE with its payload.
bool advance_websocket(struct connection *c) {
    size_t head_count;
    uint64_t payload_count;
    if (c->ending == CLOSE) {
        if (!pending(&c->out)) close_connection(c, false);
        return false;
    }
    if (pending(&c->out) > OUTPUT_LIMIT) return false;
    bool has_head = frame_head(c, &head_count, &payload_count);
    if (has_head && payload_count > FRAME_LIMIT) return close_websocket(c, 1009), true;
    if (!has_head || pending(&c->in) < head_count + payload_count) {
        if (c->input_ended) close_connection(c, false);
        return false;
    }
    char *frame = c->in.bytes + c->in.start, *payload = frame + head_count;
    if (!(frame[1] & 0x80)) return close_websocket(c, 1002), true;       // clients must mask
    for (uint64_t i = 0; i < payload_count; i++) payload[i] ^= payload[(int)(i % 4) - 4];
    unsigned char first = (unsigned char)frame[0];
    if ((first & 15) == OPCODE_PING) first = 0x80 | OPCODE_PONG;
    bool is_pong = (frame[0] & 15) == OPCODE_PONG;       // unasked for: ignored
    if (!is_pong) send_frame(c, first, payload, (size_t)payload_count);
    if ((first & 15) == OPCODE_CLOSE) c->ending = CLOSE;
    consume(&c->in, head_count + (size_t)payload_count);
    return true;
}
