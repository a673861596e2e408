// GETs at a fixed rate, whatever the answers do: the next is due when its time has come, answered or not.
//
// A request waits for its turn on one of the connections, and its latency counts from the moment it was due, so a stall
// is seen by all that it delayed. One thread.
// Usage: open_loop PORT HOST CONNECTIONS RATE SECONDS      (loopback only)
// Prints one line of JSON; times in microseconds. An error is an answer other than 200, or a connection lost.
#define _GNU_SOURCE
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { CONNECTIONS_LIMIT = 1024, SAMPLES_LIMIT = 1 << 20, QUEUE_LIMIT = 1 << 16, ANSWER_LIMIT = 16 * 1024 };

struct visit {
    struct client client;
    bool is_busy;
    uint64_t due_ns;
    char bytes[ANSWER_LIMIT];
    size_t count;
};

static struct visit visits[CONNECTIONS_LIMIT];
static size_t idle[CONNECTIONS_LIMIT], idle_count;
static uint64_t waiting[QUEUE_LIMIT];   // when those were due that found no idle connection
static size_t waiting_begin, waiting_end;
static uint32_t samples[SAMPLES_LIMIT];
static size_t requests, errors;
static char request[512];
static size_t request_bytes;
static int poller;

static void fail(const char *message) {
    fprintf(stderr, "open_loop: %s\n", message);
    exit(1);
}

static void ask(size_t index, uint64_t due_ns) {
    struct visit *visit = &visits[index];
    visit->is_busy = true;
    visit->due_ns = due_ns;
    visit->count = 0;
    // A request of some hundred bytes fits an empty socket buffer.
    if (client_send(&visit->client, request, request_bytes) != (ssize_t)request_bytes) fail("a request was not taken");
}

// Bytes of the whole answer in the buffer; 0 while it is not there.
static size_t answer_bytes(struct visit *visit) {
    char *head_end = memmem(visit->bytes, visit->count, "\r\n\r\n", 4);
    if (!head_end) return 0;
    char *length = strcasestr(visit->bytes, "\r\ncontent-length:");
    if (!length || length > head_end) fail("an answer without Content-Length");
    size_t whole = (size_t)(head_end - visit->bytes) + 4 + strtoul(length + 17, NULL, 10);
    if (whole >= ANSWER_LIMIT) fail("an answer of more than 16 KiB");
    return visit->count >= whole ? whole : 0;
}

static void receive(size_t index) {
    struct visit *visit = &visits[index];
    for (;;) {
        ssize_t count = client_receive(&visit->client, visit->bytes + visit->count, ANSWER_LIMIT - 1 - visit->count);
        if (count == CLIENT_WAITS) return;
        if (count < 0) fail("a connection was lost");
        visit->count += (size_t)count;
        visit->bytes[visit->count] = 0;
        if (!visit->is_busy || !answer_bytes(visit)) continue;
        if (memcmp(visit->bytes, "HTTP/1.1 200", 12)) errors++;
        if (requests < SAMPLES_LIMIT) samples[requests] = (uint32_t)((now_ns() - visit->due_ns) / 1000);
        requests++;
        visit->is_busy = false;
        if (waiting_begin != waiting_end) {
            ask(index, waiting[waiting_begin++ % QUEUE_LIMIT]);
        } else {
            idle[idle_count++] = index;
        }
    }
}

static void come_due(uint64_t due_ns) {
    if (idle_count) return ask(idle[--idle_count], due_ns);
    if (waiting_end - waiting_begin == QUEUE_LIMIT) fail("far behind: the rate is not held");
    waiting[waiting_end++ % QUEUE_LIMIT] = due_ns;
}

static int ascending(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static uint32_t permille(size_t share) {
    size_t count = requests < SAMPLES_LIMIT ? requests : SAMPLES_LIMIT;
    return count ? samples[(count - 1) * share / 1000] : 0;
}

// Serves events until `until_ns`; at least once.
static void serve(uint64_t until_ns) {
    for (;;) {
        uint64_t now = now_ns(), left = until_ns > now ? until_ns - now : 0;
        struct timespec patience = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
        struct epoll_event events[256];
        int ready = epoll_pwait2(poller, events, 256, &patience, NULL);
        for (int i = 0; i < ready; i++)
            if (events[i].events & (EPOLLIN | EPOLLRDHUP)) receive(events[i].data.u64);
        if (now_ns() >= until_ns) return;
    }
}

int main(int count, char **arguments) {
    if (count != 6) return fprintf(stderr, "usage: open_loop PORT HOST CONNECTIONS RATE SECONDS\n"), 2;
    int port = atoi(arguments[1]);
    size_t connections = strtoul(arguments[3], NULL, 10);
    double rate = strtod(arguments[4], NULL), seconds = strtod(arguments[5], NULL);
    if (!connections || connections > CONNECTIONS_LIMIT || rate <= 0 || strlen(arguments[2]) > 255)
        return fprintf(stderr, "open_loop: 1 to %d connections, a rate above 0\n", CONNECTIONS_LIMIT), 2;
    request_bytes = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", arguments[2]);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    poller = epoll_create1(0);
    for (size_t i = 0; i < connections; i++) {
        if (!client_open(&visits[i].client, port, (unsigned)i, NULL, arguments[2], poller, i)) fail("no connection");
        idle[idle_count++] = i;
    }
    serve(now_ns() + 100000000);    // connections are made
    uint64_t begun_ns = now_ns();
    size_t all = (size_t)(rate * seconds);
    for (size_t i = 0; i < all; i++) {
        uint64_t due_ns = begun_ns + (uint64_t)((double)i * 1e9 / rate);
        serve(due_ns);
        come_due(due_ns);
    }
    for (uint64_t give_up = now_ns() + 2000000000; requests < all && now_ns() < give_up;) serve(now_ns() + 1000000);
    errors += all - requests;
    double took = (double)(now_ns() - begun_ns) / 1e9;
    qsort(samples, requests < SAMPLES_LIMIT ? requests : SAMPLES_LIMIT, sizeof *samples, ascending);
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.4f, ", requests, errors, took);
    printf("\"p50\": %u, \"p99\": %u, \"p999\": %u}\n", permille(500), permille(990), permille(999));
    return 0;
}
