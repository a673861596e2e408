// Opens connections that then stay idle, and says when they stand: for the memory that a proxy spends on each.
//
// Usage: idle [--tls] [--http2 STREAMS PATH] PORT HOST CONNECTIONS      (loopback only)
// HTTP/1.1: each connection asks for `/` once and keeps the connection alive. HTTP/2: each asks for `/` once; when that
// is answered it sends STREAMS requests for PATH, which the application is expected not to answer. A bounded number of
// connections is under way at a time, and another begins when one stands.
//
// Prints a line of JSON when all stand or have failed, then holds them (pings and settings are answered) until its
// standard input ends, and prints a second line with what was lost meanwhile.
#define _GNU_SOURCE
#include "client.h"

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { UNDER_WAY_LIMIT = 32, EVENTS_PER_TURN = 256, TURN_MS = 20, HEAD_LIMIT = 4096 };
static const uint64_t PATIENCE_NS = 30ull * 1000000000;    // without any progress

enum state { OPENING, ASKED, STANDS, GONE };

struct connection {
    struct client client;
    enum state state;
    size_t sent;                // HTTP/1.1: of the request
    char *head;                 // HTTP/1.1: the answer so far, until its head is whole
    size_t received, expected;  // HTTP/1.1: of the answer; 0 expected: not known yet
    nghttp2_session *session;   // HTTP/2
    int32_t first_stream;
    bool is_answered;           // HTTP/2: the first request, with 200
};

static struct connection *connections;
static size_t total, opened, standing, failed, lost_connections, lost_streams;
static size_t streams;
static const char *host, *path;
static int port, poller;
static bool uses_tls;
static SSL_CTX *context;
static char request[512];
static size_t request_bytes;
static nghttp2_session_callbacks *callbacks;

static void leave(struct connection *c) {
    if (c->state == GONE) return;
    if (c->state == STANDS) {
        standing--;
        lost_connections++;
    } else {
        failed++;
    }
    c->state = GONE;
    nghttp2_session_del(c->session);
    c->session = NULL;
    free(c->head);
    c->head = NULL;
    client_close(&c->client);
}

static void stand(struct connection *c) {
    c->state = STANDS;
    standing++;
}

// ---------------------------------------------------------------- HTTP/1.1

// Looks for the end of the head; false when the answer is not one we want.
static bool read_head(struct connection *c) {
    c->head[c->received] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return c->received < HEAD_LIMIT;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200", 12) || !length || length > end) return false;
    c->expected = (size_t)(end + 4 - c->head) + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    free(c->head);
    c->head = NULL;
    return true;
}

static bool advance_http1(struct connection *c) {
    static char bytes[16 * 1024];
    while (c->sent < request_bytes) {
        ssize_t count = client_send(&c->client, request + c->sent, request_bytes - c->sent);
        if (count <= 0) return count == CLIENT_WAITS;
        c->sent += (size_t)count;
        c->state = ASKED;
    }
    for (;;) {
        ssize_t count = client_receive(&c->client, bytes, sizeof bytes);
        if (count <= 0) return count == CLIENT_WAITS;
        if (!c->expected) {
            if (!c->head && !(c->head = malloc(HEAD_LIMIT + sizeof bytes + 1))) return false;
            memcpy(c->head + c->received, bytes, (size_t)count);
        }
        c->received += (size_t)count;
        if (!c->expected && !read_head(c)) return false;
        if (c->expected && c->received > c->expected) return false;
        if (c->expected && c->received == c->expected) stand(c);
    }
}

// ---------------------------------------------------------------- HTTP/2

#define FIELD(name, value) {(uint8_t *)name, (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}

static int32_t ask(struct connection *c, const char *for_path) {
    nghttp2_nv fields[] = {FIELD(":method", "GET"), FIELD(":scheme", uses_tls ? "https" : "http"),
                           FIELD(":authority", host), FIELD(":path", for_path)};
    return nghttp2_submit_request(c->session, NULL, fields, sizeof fields / sizeof *fields, NULL, NULL);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *user) {
    struct connection *c = user;
    (void)session, (void)flags;
    bool is_status = name_bytes == 7 && !memcmp(name, ":status", 7);
    if (is_status && frame->hd.stream_id == c->first_stream)
        c->is_answered = value_bytes == 3 && !memcmp(value, "200", 3);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user) {
    struct connection *c = user;
    (void)code;
    if (stream != c->first_stream) {
        lost_streams++;
        return 0;
    }
    uint32_t allowed = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (!c->is_answered || allowed < streams) return NGHTTP2_ERR_CALLBACK_FAILURE;
    for (size_t i = 0; i < streams; i++)
        if (ask(c, path) < 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    c->state = ASKED;
    return 0;
}

static bool start_session(struct connection *c) {
    if (nghttp2_session_client_new(&c->session, callbacks, c)) return false;
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, NULL, 0)) return false;
    c->first_stream = ask(c, "/");
    return c->first_stream > 0;
}

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *bytes, size_t count, int flags, void *user) {
    struct connection *c = user;
    (void)session, (void)flags;
    ssize_t sent = client_send(&c->client, bytes, count);
    if (sent > 0) return sent;
    return sent == CLIENT_WAITS ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t receive_bytes(nghttp2_session *session, uint8_t *bytes, size_t room, int flags, void *user) {
    struct connection *c = user;
    (void)session, (void)flags;
    ssize_t count = client_receive(&c->client, bytes, room);
    if (count > 0) return count;
    if (count == CLIENT_WAITS) return NGHTTP2_ERR_WOULDBLOCK;
    return count == CLIENT_ENDED ? NGHTTP2_ERR_EOF : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool advance_http2(struct connection *c) {
    if (!c->session && !start_session(c)) return false;
    if (nghttp2_session_send(c->session)) return false;
    if (nghttp2_session_recv(c->session)) return false;
    if (nghttp2_session_send(c->session)) return false;
    if (!nghttp2_session_want_read(c->session)) return false;
    if (c->state == ASKED && !nghttp2_session_want_write(c->session)) stand(c);
    return true;
}

static bool make_callbacks(void) {
    if (nghttp2_session_callbacks_new(&callbacks)) return false;
    nghttp2_session_callbacks_set_send_callback(callbacks, send_bytes);
    nghttp2_session_callbacks_set_recv_callback(callbacks, receive_bytes);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    return true;
}

// ---------------------------------------------------------------- all of them

static void open_more(void) {
    while (opened < total && opened - standing - failed - lost_connections < UNDER_WAY_LIMIT) {
        struct connection *c = &connections[opened];
        if (!client_open(&c->client, port, (unsigned)opened, context, host, poller, opened)) leave(c);
        opened++;
    }
}

static void turn(void) {
    struct epoll_event events[EVENTS_PER_TURN];
    int ready = epoll_wait(poller, events, EVENTS_PER_TURN, TURN_MS);
    for (int i = 0; i < ready; i++) {
        struct connection *c = &connections[events[i].data.u64];
        if (c->state == GONE) continue;
        bool goes_on = streams ? advance_http2(c) : advance_http1(c);
        if (!goes_on) leave(c);
    }
}

static bool input_has_ended(void) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void open_all(void) {
    size_t settled = 0;
    uint64_t moved_ns = now_ns();
    while (standing + failed + lost_connections < total) {
        open_more();
        turn();
        if (settled != standing + failed) moved_ns = now_ns();
        settled = standing + failed;
        if (now_ns() - moved_ns < PATIENCE_NS) continue;
        failed = total - standing - lost_connections;   // nothing moves any more
        return;
    }
}

static bool parse(int count, char **arguments) {
    int at = 1;
    if (at < count && !strcmp(arguments[at], "--tls")) uses_tls = true, at++;
    if (at + 2 < count && !strcmp(arguments[at], "--http2")) {
        streams = strtoul(arguments[at + 1], NULL, 10);
        path = arguments[at + 2];
        at += 3;
        if (!streams) return false;
    }
    if (count - at != 3 || strlen(arguments[at + 1]) > 255) return false;
    port = atoi(arguments[at]);
    host = arguments[at + 1];
    total = strtoul(arguments[at + 2], NULL, 10);
    return port > 0 && total > 0;
}

int main(int count, char **arguments) {
    if (!parse(count, arguments))
        return fprintf(stderr, "usage: idle [--tls] [--http2 STREAMS PATH] PORT HOST CONNECTIONS\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    request_bytes = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    poller = epoll_create1(0);
    connections = calloc(total, sizeof *connections);
    if (uses_tls) context = client_context(streams ? "\x02h2" : "\x08http/1.1");
    if (!connections || poller < 0 || (uses_tls && !context) || !make_callbacks())
        return fprintf(stderr, "idle: cannot start\n"), 1;
    open_all();
    printf("{\"standing\": %zu, \"failed\": %zu}\n", standing, failed + lost_connections);
    fflush(stdout);
    while (!input_has_ended()) turn();
    printf("{\"lost_connections\": %zu, \"lost_streams\": %zu}\n", lost_connections, lost_streams);
    return 0;
}
