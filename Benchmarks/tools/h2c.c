// The application of the HTTP/2 scenarios: HTTP/2 by prior knowledge, one thread, nghttp2 and nothing else.
//
// Usage: h2c [PORT]      (loopback only; without PORT: the environment variable PORT)
//   /h2c/echo     reads the body, answers 128 bytes and the trailer `grpc-status: 0`, as a unary gRPC call looks
//   /h2c/hang     never answers
//   /h2c/stats    {"in_flight": N}: streams that are open now, itself included
//   other paths   200, 1 KiB
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 256, BACKLOG = 4096, STREAMS_LIMIT = 250, WINDOW = 1 << 20, OUT_BYTES = 64 * 1024 };
enum { MESSAGE_BYTES = 128, PAGE_BYTES = 1024 };

// What a stream asks for, kept in its user data. 0: no path was seen.
enum route { ROUTE_NONE, ROUTE_ECHO, ROUTE_HANG, ROUTE_STATS, ROUTE_PAGE };

struct connection {
    int fd;
    nghttp2_session *session;
    char *out;              // bytes that the socket did not take
    size_t out_bytes;
    size_t open_streams;
};

static int poller;
static size_t in_flight;
static nghttp2_session_callbacks *callbacks;
static char page[PAGE_BYTES], message[MESSAGE_BYTES] = {0, 0, 0, 0, MESSAGE_BYTES - 5};   // a gRPC frame

static void fail(const char *what) {
    fprintf(stderr, "h2c: %s: %s\n", what, strerror(errno));
    exit(1);
}

// ---------------------------------------------------------------- answers

#define FIELD(name, value)                                                                                            \
    {(uint8_t *)name, (uint8_t *)value, sizeof name - 1, strlen(value),                                               \
     NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static ssize_t give_message(nghttp2_session *session, int32_t stream, uint8_t *bytes, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *user) {
    (void)source, (void)user;
    if (room < MESSAGE_BYTES) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    memcpy(bytes, message, MESSAGE_BYTES);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_nv trailers[] = {FIELD("grpc-status", "0")};
    nghttp2_submit_trailer(session, stream, trailers, 1);
    return MESSAGE_BYTES;
}

static ssize_t give_page(nghttp2_session *session, int32_t stream, uint8_t *bytes, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
    (void)session, (void)stream, (void)source, (void)user;
    if (room < PAGE_BYTES) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    memcpy(bytes, page, PAGE_BYTES);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return PAGE_BYTES;
}

static ssize_t give_stats(nghttp2_session *session, int32_t stream, uint8_t *bytes, size_t room, uint32_t *flags,
                          nghttp2_data_source *source, void *user) {
    (void)session, (void)stream, (void)source, (void)user;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return snprintf((char *)bytes, room, "{\"in_flight\": %zu}", in_flight);
}

static int answer(nghttp2_session *session, int32_t stream, enum route route) {
    nghttp2_nv echo[] = {FIELD(":status", "200"), FIELD("content-type", "application/grpc")};
    nghttp2_nv text[] = {FIELD(":status", "200"), FIELD("content-type", "text/plain")};
    nghttp2_nv sized[] = {FIELD(":status", "200"), FIELD("content-type", "text/plain"),
                          FIELD("content-length", "1024")};
    nghttp2_data_provider give = {.read_callback = give_page};
    switch (route) {
    case ROUTE_HANG: return 0;
    case ROUTE_ECHO:
        give.read_callback = give_message;
        return nghttp2_submit_response(session, stream, echo, 2, &give);
    case ROUTE_STATS:
        give.read_callback = give_stats;
        return nghttp2_submit_response(session, stream, text, 2, &give);
    case ROUTE_NONE:
    case ROUTE_PAGE: break;
    }
    return nghttp2_submit_response(session, stream, sized, 3, &give);
}

// ---------------------------------------------------------------- events of a session

static enum route find_route(const uint8_t *path, size_t count) {
    static const char *const paths[] = {[ROUTE_ECHO] = "/h2c/echo", [ROUTE_HANG] = "/h2c/hang",
                                        [ROUTE_STATS] = "/h2c/stats"};
    for (int route = ROUTE_ECHO; route <= ROUTE_STATS; route++)
        if (count == strlen(paths[route]) && !memcmp(path, paths[route], count)) return (enum route)route;
    return ROUTE_PAGE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    struct connection *c = user;
    (void)session;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    c->open_streams++;
    in_flight++;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *user) {
    (void)flags, (void)user;
    if (name_bytes != 5 || memcmp(name, ":path", 5)) return 0;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, (void *)find_route(value, value_bytes));
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    bool is_request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!is_request || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    int32_t stream = frame->hd.stream_id;
    return answer(session, stream, (enum route)(intptr_t)nghttp2_session_get_stream_user_data(session, stream));
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user) {
    struct connection *c = user;
    (void)session, (void)stream, (void)code;
    c->open_streams--;
    in_flight--;
    return 0;
}

// ---------------------------------------------------------------- the socket

// Hands over what nghttp2 has to say, in as few system calls as possible. False when the connection is finished.
static bool flush(struct connection *c) {
    for (;;) {
        const uint8_t *piece;
        ssize_t count = 1;
        while (c->out_bytes < OUT_BYTES / 2 && (count = nghttp2_session_mem_send(c->session, &piece)) > 0) {
            if ((size_t)count > OUT_BYTES - c->out_bytes) return false;     // larger than a frame can be
            memcpy(c->out + c->out_bytes, piece, (size_t)count);
            c->out_bytes += (size_t)count;
        }
        if (count < 0) return false;
        if (!c->out_bytes) return true;
        ssize_t sent = send(c->fd, c->out, c->out_bytes, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        c->out_bytes -= (size_t)sent;
        memmove(c->out, c->out + sent, c->out_bytes);
        if (c->out_bytes) return true;
    }
}

static bool serve(struct connection *c) {
    static uint8_t bytes[64 * 1024];
    for (;;) {
        ssize_t count = recv(c->fd, bytes, sizeof bytes, 0);
        if (count < 0 && errno == EAGAIN) break;
        if (count <= 0 || nghttp2_session_mem_recv(c->session, bytes, (size_t)count) != count) return false;
        if (count < (ssize_t)sizeof bytes) break;
    }
    return flush(c) && (nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session));
}

static void finish(struct connection *c) {
    in_flight -= c->open_streams;
    nghttp2_session_del(c->session);
    close(c->fd);
    free(c->out);
    free(c);
}

static void begin(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *c = calloc(1, sizeof *c);
    if (!c || !(c->out = malloc(OUT_BYTES)) || nghttp2_session_server_new(&c->session, callbacks, c)) abort();
    c->fd = fd;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_LIMIT}};
    nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 1);
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

// ---------------------------------------------------------------- main

static void make_callbacks(void) {
    if (nghttp2_session_callbacks_new(&callbacks)) abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}

static int listen_on(const char *port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, BACKLOG)) fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    return listener;
}

int main(int count, char **arguments) {
    const char *port = count == 2 ? arguments[1] : getenv("PORT");
    if (!port) return fprintf(stderr, "usage: h2c [PORT]\n"), 2;
    struct rlimit descriptors;
    if (!getrlimit(RLIMIT_NOFILE, &descriptors)) {
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    memset(page, 'x', sizeof page);
    memset(message + 5, 'm', sizeof message - 5);
    make_callbacks();
    poller = epoll_create1(0);
    int listener = listen_on(port);
    for (;;) {
        struct epoll_event events[EVENTS_PER_TURN];
        int ready = epoll_wait(poller, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c && !serve(c)) finish(c);
            for (int fd; !c && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) begin(fd);
        }
    }
}
