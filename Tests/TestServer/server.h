// Shared by the files of martlet-test-server; what the program does is said in main.c.
#ifndef MARTLET_TEST_SERVER_H
#define MARTLET_TEST_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAD_LIMIT = 1024 * 1024,   // a longer request head gets 431
    INPUT_LIMIT = 256 * 1024,   // reading pauses above this while a request is served
    OUTPUT_LIMIT = 256 * 1024,  // echoing and filling pause above this
    READ_BYTES = 64 * 1024,
    ROUNDS_PER_TURN = 64,       // one busy connection must not starve the rest
};

// Bytes in arrival order: appended at `end`, consumed at `start`.
struct buffer {
    char *bytes;
    size_t start, end, capacity;
};

size_t pending(const struct buffer *buffer);
char *reserve(struct buffer *buffer, size_t room);
void append(struct buffer *buffer, const void *bytes, size_t count);
void append_text(struct buffer *buffer, const char *text);
void append_format(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void consume(struct buffer *buffer, size_t count);

struct slice {
    const char *bytes;
    size_t count;
};

bool same(struct slice slice, const char *text);                 // exact
bool same_ignoring_case(struct slice slice, const char *text);

// One request head. The slices point into the connection's own copy of the head.
struct request {
    struct slice head, method, path, query;
    struct slice upgrade, websocket_key;
    bool is_head, is_version_10, wants_close, wants_keep_alive, expects_continue, has_body, is_chunked;
    uint64_t content_length;
};

// Where the request body stands.
enum body_state { BODY_END, BODY_COUNTED, BODY_SIZE_LINE, BODY_CHUNK, BODY_CHUNK_END, BODY_TRAILERS };

enum mode { MODE_HEAD, MODE_REQUEST, MODE_WEBSOCKET, MODE_TUNNEL };

// What happens to the connection when everything queued has been written.
enum ending { KEEP, CLOSE, RESET };

struct connection {
    int fd;
    struct connection *next, *previous;  // all open connections
    struct connection *next_again;       // those that used up their rounds in this turn, or died in it
    bool readable, writable, input_ended, is_queued, is_dead;
    struct buffer in, out, head_copy;
    enum mode mode;
    enum ending ending;
    struct request request;
    const struct route *route;
    uint64_t accepted_ns, arrived_ns;
    // The request body.
    enum body_state body;
    uint64_t body_left, body_bytes, body_hash;
    bool echoes_body, hashes_body;
    // The answer. It is complete when `answered` is set and nothing is left to fill.
    bool answered, head_sent, fill_chunked;
    uint64_t fill_left;
    size_t fill_piece;
    uint64_t fill_pause_ns;
    // One timer a connection: at `deadline_ns` (0: none) `later` runs.
    uint64_t deadline_ns;
    void (*later)(struct connection *connection);
};

// An endpoint. `at_head` ones run before the request body has been read.
struct route {
    const char *path;
    bool is_prefix, at_head;
    void (*serve)(struct connection *connection);
};

struct statistics {
    uint64_t requests, aborted, overlaps, connections, in_flight, max_in_flight, open_connections;
};

struct options {
    const char *target, *revision;
    bool stamps_times;
    uint64_t idle_ns, ready_at_ns, listen_ns;
};

extern struct options options;
extern struct statistics statistics;
extern bool is_stopping, is_unhealthy;

uint64_t now_ns(void);                                                              // CLOCK_MONOTONIC
void set_timer(struct connection *c, uint64_t delay_ns, void (*later)(struct connection *));
void enlist(struct connection *c);    // joins the list of open connections
void bury(struct connection *c);      // leaves it; freed at the end of the turn
void queue_again(struct connection *c);
void stop_listening(void);

// connection.c
void drive(struct connection *c);     // reads, serves and writes until nothing moves
void close_connection(struct connection *c, bool with_reset);
void begin_idle(struct connection *c);

// routes.c
const struct route *find_route(struct slice path);
long query_number(const struct request *request, const char *name, long fallback);
void answer(struct connection *c, int status, const char *body, size_t count);
void answer_text(struct connection *c, int status, const char *text);
void answer_head(struct connection *c, int status, int64_t content_length, const char *extra_fields);

// websocket.c
void serve_websocket(struct connection *c);
bool advance_websocket(struct connection *c);
void close_websocket(struct connection *c, unsigned code);

#endif
