// The endpoints; what each does is said in main.c.
#define _GNU_SOURCE
#include "server.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

// ---------------------------------------------------------------- answers

static const char *reason(int status) {
    static const struct { int status; const char *text; } table[] = {
        {200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {301, "Moved Permanently"},
        {302, "Found"}, {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
        {404, "Not Found"}, {418, "I'm a teapot"}, {426, "Upgrade Required"}, {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
        {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) return table[i].text;
    return "Status";
}

// A negative length means chunked, unless the status has no body or the client speaks HTTP/1.0 (then the end of the
// connection ends the body). Every answer carries the stamps the benches and tests read.
void answer_head(struct connection *c, int status, int64_t content_length, const char *extra_fields) {
    bool is_bodiless = status == 204 || status == 304;
    append_format(&c->out, "HTTP/1.1 %d %s\r\n", status, reason(status));
    if (content_length >= 0 && !is_bodiless) append_format(&c->out, "Content-Length: %" PRId64 "\r\n", content_length);
    if (content_length < 0 && !c->request.is_version_10) append_text(&c->out, "Transfer-Encoding: chunked\r\n");
    if (content_length < 0 && c->request.is_version_10) c->ending = CLOSE;
    if (options.stamps_times) {
        append_format(&c->out, "X-Listen-Ns: %" PRIu64 "\r\nX-Request-Ns: %" PRIu64 "\r\nX-Pod: %d\r\n",
                      options.listen_ns, c->arrived_ns, getpid());
        if (*options.revision) append_format(&c->out, "X-Revision: %s\r\n", options.revision);
    }
    if (is_stopping && c->ending == KEEP) c->ending = CLOSE;
    if (c->ending == CLOSE) append_text(&c->out, "Connection: close\r\n");
    else if (c->request.is_version_10) append_text(&c->out, "Connection: keep-alive\r\n");
    append_text(&c->out, extra_fields);
    append_text(&c->out, "\r\n");
    c->head_sent = true;
}

void answer(struct connection *c, int status, const char *body, size_t count) {
    answer_head(c, status, (int64_t)count, "Content-Type: text/plain\r\n");
    if (!c->request.is_head && status != 204 && status != 304) append(&c->out, body, count);
    c->answered = true;
}

void answer_text(struct connection *c, int status, const char *text) { answer(c, status, text, strlen(text)); }

static void answer_buffer(struct connection *c, struct buffer *body) {
    answer(c, 200, body->bytes + body->start, pending(body));
    free(body->bytes);
}

// ---------------------------------------------------------------- requests

static const char *query_text(const struct request *request, const char *name) {
    size_t name_count = strlen(name);
    const char *end = request->query.bytes + request->query.count;
    for (const char *at = request->query.bytes; at + name_count < end; at++) {
        bool is_start = at == request->query.bytes || at[-1] == '&';
        if (is_start && !memcmp(at, name, name_count) && at[name_count] == '=') return at + name_count + 1;
    }
    return NULL;
}

long query_number(const struct request *request, const char *name, long fallback) {
    const char *text = query_text(request, name);
    return text ? strtol(text, NULL, 10) : fallback;
}

static bool query_is(const struct request *request, const char *name, const char *value) {
    const char *text = query_text(request, name);
    return text && !strncmp(text, value, strlen(value));
}

static uint64_t query_ns(const struct connection *c, long fallback_ms) {
    long milliseconds = query_number(&c->request, "ms", fallback_ms);
    return milliseconds < 0 ? 0 : (uint64_t)milliseconds * 1000000;
}

static long path_number(const struct connection *c) {
    return strtol(c->request.path.bytes + strlen(c->route->path), NULL, 10);
}

// ---------------------------------------------------------------- ordinary answers

static void serve_root(struct connection *c) {
    static char kibibyte[1024];
    if (!kibibyte[0]) memset(kibibyte, 'x', sizeof kibibyte);
    if (!options.target) return answer(c, 200, kibibyte, sizeof kibibyte);
    char text[512];
    snprintf(text, sizeof text, "Hello %s!\n", options.target);
    answer_text(c, 200, text);
}

static void serve_missing(struct connection *c) { answer_text(c, 404, "no such endpoint\n"); }

static void fill(struct connection *c, bool is_chunked) {
    long count = path_number(c), piece = query_number(&c->request, "chunk", 16 * 1024);
    if (count < 0) return answer_text(c, 400, "a count is needed\n");
    answer_head(c, 200, is_chunked ? -1 : count, "Content-Type: application/octet-stream\r\n");
    c->answered = true;
    if (c->request.is_head) return;
    c->fill_left = (uint64_t)count;
    c->fill_piece = piece < 1 ? 1 : piece > READ_BYTES ? READ_BYTES : (size_t)piece;
    c->fill_chunked = is_chunked && !c->request.is_version_10;
    c->fill_pause_ns = query_ns(c, 0);
    if (!count && c->fill_chunked) append_text(&c->out, "0\r\n\r\n");
}

static void serve_bytes(struct connection *c) { fill(c, false); }
static void serve_chunked(struct connection *c) { fill(c, true); }

static void answer_slow(struct connection *c) { answer_text(c, 200, "slow\n"); }
static void serve_slow(struct connection *c) { set_timer(c, query_ns(c, 1000), answer_slow); }

static void serve_status(struct connection *c) {
    long status = path_number(c);
    if (status < 200 || status > 999) return answer_text(c, 400, "a status from 200 to 999 is needed\n");
    char text[16];
    snprintf(text, sizeof text, "%ld\n", status);
    answer_text(c, (int)status, text);
}

static void serve_echo(struct connection *c) {
    int64_t length = c->request.is_chunked ? -1 : (int64_t)c->request.content_length;
    answer_head(c, 200, length, "Content-Type: application/octet-stream\r\n");
    c->echoes_body = c->request.has_body;
    if (!c->request.has_body) c->answered = true;
}

static void serve_upload(struct connection *c) {
    char text[128];
    snprintf(text, sizeof text, "{\"bytes\":%" PRIu64 ",\"fnv1a\":\"%016" PRIx64 "\"}\n", c->body_bytes, c->body_hash);
    answer_text(c, 200, text);
}

static void serve_headers(struct connection *c) { answer(c, 200, c->request.head.bytes, c->request.head.count); }

static void serve_env(struct connection *c) {
    struct buffer text = {0};
    for (char **entry = environ; *entry; entry++) {
        append_text(&text, *entry);
        append_text(&text, "\n");
    }
    answer_buffer(c, &text);
}

static void serve_process(struct connection *c) {
    char folder[4096] = "?", text[4608];
    if (!getcwd(folder, sizeof folder)) folder[0] = '?';
    snprintf(text, sizeof text, "pid=%d\nparent=%d\ngroup=%d\nfolder=%s\n", getpid(), getppid(), getpgrp(), folder);
    answer_text(c, 200, text);
}

static void serve_trailers(struct connection *c) {
    answer_head(c, 200, -1, "Content-Type: text/plain\r\nTrailer: X-Checksum\r\n");
    c->answered = true;
    if (c->request.is_head) return;
    if (c->request.is_version_10) return append_text(&c->out, "trailers\n");
    append_text(&c->out, "9\r\ntrailers\n\r\n0\r\nX-Checksum: 1d2f\r\nX-After: body\r\n\r\n");
}

static void serve_hints(struct connection *c) {
    append_text(&c->out, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n");
    answer_text(c, 200, "hinted\n");
}

static void serve_times(struct connection *c) {
    char text[160];
    snprintf(text, sizeof text,
             "listen_ns=%" PRIu64 "\naccept_ns=%" PRIu64 "\nrequest_ns=%" PRIu64 "\nanswer_ns=%" PRIu64 "\n",
             options.listen_ns, c->accepted_ns, c->arrived_ns, now_ns());
    answer_text(c, 200, text);
}

static void serve_health(struct connection *c) {
    bool is_ready = !is_unhealthy && now_ns() >= options.ready_at_ns;
    answer_text(c, is_ready ? 200 : 503, is_ready ? "ok\n" : "not ready\n");
}

static void serve_set_health(struct connection *c) {
    is_unhealthy = query_number(&c->request, "ok", 1) == 0;
    answer_text(c, 200, "set\n");
}

static void serve_stats(struct connection *c) {
    char text[512];
    const struct statistics *s = &statistics;
    snprintf(text, sizeof text,
             "{\"pid\":%d,\"requests\":%" PRIu64 ",\"in_flight\":%" PRIu64 ",\"max_in_flight\":%" PRIu64
             ",\"aborted\":%" PRIu64 ",\"overlaps\":%" PRIu64 ",\"connections\":%" PRIu64
             ",\"open_connections\":%" PRIu64 "}\n",
             getpid(), s->requests, s->in_flight, s->max_in_flight, s->aborted, s->overlaps, s->connections,
             s->open_connections);
    answer_text(c, 200, text);
}

static void serve_log(struct connection *c) {
    const char *line = query_text(&c->request, "line");
    const char *end = c->request.query.bytes + c->request.query.count;
    int count = line ? (int)(end - line) : 0;
    dprintf(query_is(&c->request, "to", "stderr") ? 2 : 1, "%.*s\n", count, line ? line : "");
    answer_text(c, 200, "logged\n");
}

static void serve_overlap(struct connection *c) {
    if (statistics.in_flight > 1) {
        statistics.overlaps++;
        return answer_text(c, 500, "another request is in flight\n");
    }
    set_timer(c, query_ns(c, 20), answer_slow);
}

// ---------------------------------------------------------------- unfriendly answers

static void serve_early(struct connection *c) {
    if (c->request.expects_continue && c->request.has_body) {
        c->ending = CLOSE;        // the client may never send the body, so the connection cannot be kept
        c->body = BODY_END;
    }
    answer_text(c, 200, "early\n");
}

static void serve_close(struct connection *c) {
    c->ending = CLOSE;
    answer_text(c, 200, "close\n");
}

static void close_now(struct connection *c) { close_connection(c, false); }
static void reset_now(struct connection *c) { close_connection(c, true); }

static void cut(struct connection *c, void (*end)(struct connection *)) {
    if (query_is(&c->request, "at", "start")) return end(c);
    answer_head(c, 200, 1000, "Content-Type: text/plain\r\n");
    for (int i = 0; i < 50; i++) append_text(&c->out, "0123456789");
    set_timer(c, query_ns(c, 20), end);       // so that the first half has left before the connection ends
}

static void serve_half(struct connection *c) { cut(c, close_now); }
static void serve_reset(struct connection *c) { cut(c, reset_now); }

// The answer is whole, but the connection ends without having said so: what a stale pooled connection looks like.
static void serve_drop(struct connection *c) {
    answer_text(c, 200, "drop\n");
    c->ending = query_number(&c->request, "reset", 0) ? RESET : CLOSE;
}

static void serve_garbage(struct connection *c) {
    append_text(&c->out, "\x01\x02 this is not HTTP\r\n\r\n");
    c->answered = true;
    c->ending = CLOSE;
    c->body = BODY_END;
}

static void serve_exit(struct connection *c) {
    long number = query_number(&c->request, "signal", 0);
    if (number) raise((int)number);
    _exit((int)query_number(&c->request, "code", 1));
}

static void serve_hang(struct connection *c) { (void)c; }

static void serve_unlisten(struct connection *c) {
    stop_listening();
    answer_text(c, 200, "no longer listening\n");
}

static void serve_tunnel(struct connection *c) {
    if (!same_ignoring_case(c->request.upgrade, "echo")) return answer_text(c, 426, "Upgrade: echo is needed\n");
    append_text(&c->out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    c->mode = MODE_TUNNEL;
}

// ---------------------------------------------------------------- the table

static const struct route routes[] = {
    {"/", false, false, serve_root},
    {"/bytes/", true, false, serve_bytes},
    {"/chunked/", true, false, serve_chunked},
    {"/slow", false, false, serve_slow},
    {"/status/", true, false, serve_status},
    {"/echo", false, true, serve_echo},
    {"/upload", false, false, serve_upload},
    {"/headers", false, false, serve_headers},
    {"/env", false, false, serve_env},
    {"/process", false, false, serve_process},
    {"/early", false, true, serve_early},
    {"/close", false, false, serve_close},
    {"/drop", false, false, serve_drop},
    {"/half", false, false, serve_half},
    {"/reset", false, true, serve_reset},
    {"/garbage", false, true, serve_garbage},
    {"/trailers", false, false, serve_trailers},
    {"/103", false, false, serve_hints},
    {"/overlap", false, false, serve_overlap},
    {"/exit", false, true, serve_exit},
    {"/hang", false, true, serve_hang},
    {"/healthz", false, false, serve_health},
    {"/health", false, false, serve_set_health},
    {"/log", false, false, serve_log},
    {"/stats", false, false, serve_stats},
    {"/times", false, false, serve_times},
    {"/unlisten", false, false, serve_unlisten},
    {"/tunnel", false, true, serve_tunnel},
    {"/ws", false, true, serve_websocket},
};
static const struct route missing = {"", true, false, serve_missing};

const struct route *find_route(struct slice path) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t count = strlen(routes[i].path);
        bool fits = routes[i].is_prefix ? path.count > count : path.count == count;
        if (fits && !memcmp(path.bytes, routes[i].path, count)) return &routes[i];
    }
    return &missing;
}
