// Full TLS 1.3 handshakes in a closed loop: connect, handshake, one GET, its answer to the end, close; then the next.
//
// wrk cannot do this: it resumes sessions where a server hands out tickets. One thread.
// Usage: handshakes PORT HOST CONNECTIONS SECONDS      (loopback only)
// Prints one line of JSON; times in microseconds, of whole connections. An error is a connection that did not bring an
// answer with status 200.
#define _GNU_SOURCE
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { CONNECTIONS_LIMIT = 1024, SAMPLES_LIMIT = 1 << 20, TURN_MS = 50 };

struct visit {
    struct client client;
    uint64_t begun_ns;
    size_t sent;
    char status[16];    // the beginning of the answer
    size_t status_bytes;
};

static struct visit visits[CONNECTIONS_LIMIT];
static uint32_t samples[SAMPLES_LIMIT];
static size_t requests, errors, resumed, opened;
static char request[512];
static size_t request_bytes;
static const char *host;
static int port, poller;
static SSL_CTX *context;

static void begin(size_t index) {
    struct visit *visit = &visits[index];
    *visit = (struct visit){.begun_ns = now_ns()};
    if (client_open(&visit->client, port, (unsigned)opened++, context, host, poller, index)) return;
    perror("handshakes");
    exit(1);
}

static void end(struct visit *visit, bool is_whole) {
    bool is_good = is_whole && visit->status_bytes >= 12 && !memcmp(visit->status, "HTTP/1.1 200", 12);
    resumed += (size_t)SSL_session_reused(visit->client.tls);
    client_close(&visit->client);
    if (!is_good) {
        errors++;
        return;
    }
    if (requests < SAMPLES_LIMIT) samples[requests] = (uint32_t)((now_ns() - visit->begun_ns) / 1000);
    requests++;
}

// Goes as far as it can. Returns whether the visit is over.
static bool advance(struct visit *visit) {
    static char bytes[16 * 1024];
    while (visit->sent < request_bytes) {
        ssize_t count = client_send(&visit->client, request + visit->sent, request_bytes - visit->sent);
        if (count == CLIENT_WAITS) return false;
        if (count < 0) return end(visit, false), true;
        visit->sent += (size_t)count;
    }
    for (;;) {
        ssize_t count = client_receive(&visit->client, bytes, sizeof bytes);
        if (count == CLIENT_WAITS) return false;
        if (count < 0) return end(visit, count == CLIENT_ENDED), true;
        size_t room = sizeof visit->status - visit->status_bytes, kept = (size_t)count < room ? (size_t)count : room;
        memcpy(visit->status + visit->status_bytes, bytes, kept);
        visit->status_bytes += kept;
    }
}

static int ascending(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static uint32_t permille(size_t share) {
    size_t count = requests < SAMPLES_LIMIT ? requests : SAMPLES_LIMIT;
    return count ? samples[(count - 1) * share / 1000] : 0;
}

int main(int count, char **arguments) {
    if (count != 5) return fprintf(stderr, "usage: handshakes PORT HOST CONNECTIONS SECONDS\n"), 2;
    port = atoi(arguments[1]);
    host = arguments[2];
    size_t connections = strtoul(arguments[3], NULL, 10);
    uint64_t length_ns = (uint64_t)(strtod(arguments[4], NULL) * 1e9);
    if (!connections || connections > CONNECTIONS_LIMIT || strlen(host) > 255)
        return fprintf(stderr, "handshakes: 1 to %d connections\n", CONNECTIONS_LIMIT), 2;
    const char *text = "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n";
    request_bytes = (size_t)snprintf(request, sizeof request, text, host);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    poller = epoll_create1(0);
    context = client_context("\x08http/1.1");
    if (!context) return fprintf(stderr, "handshakes: this OpenSSL lacks TLS 1.3 with X25519\n"), 1;
    uint64_t begun_ns = now_ns();
    for (size_t i = 0; i < connections; i++) begin(i);
    while (now_ns() - begun_ns < length_ns) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, TURN_MS);
        for (int i = 0; i < ready; i++)
            if (advance(&visits[events[i].data.u64])) begin(events[i].data.u64);
    }
    double seconds = (double)(now_ns() - begun_ns) / 1e9;
    qsort(samples, requests < SAMPLES_LIMIT ? requests : SAMPLES_LIMIT, sizeof *samples, ascending);
    printf("{\"requests\": %zu, \"errors\": %zu, \"resumed\": %zu, ", requests, errors, resumed);
    printf("\"seconds\": %.4f, ", seconds);
    printf("\"p50\": %u, \"p99\": %u, \"p999\": %u}\n", permille(500), permille(990), permille(999));
    return 0;
}
