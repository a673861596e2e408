// GETs at a fixed rate, whatever the answers do: the next is due when its time has come, answered or not.
//
// A request waits for its turn on one of the connections, and its latency counts from the moment it was due, so a stall
// is seen by all that it delayed. One thread.
// On a virtual machine a stall may be the hypervisor's, which gave the CPU to another machine. So the time is cut into
// slices, and only requests of calm ones count in the latencies: nothing was stolen in the slice before the request was
// due, in its own, and in that of its answer. It goes on until there were SECONDS of calm slices, at most PATIENCE
// times as long.
// Usage: open_loop PORT HOST CONNECTIONS RATE SECONDS      (loopback only)
// Prints one line of JSON; times in microseconds. An error is an answer other than 200, or a connection lost. `calm` is
// how many requests count in the latencies.
#define _GNU_SOURCE
#include "client.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_LIMIT = 1024, SAMPLES_LIMIT = 1 << 20, QUEUE_LIMIT = 1 << 16, ANSWER_LIMIT = 16 * 1024 };
enum { SLICE_NS = 100000000, SLICES_LIMIT = 1 << 14, PATIENCE = 5 };

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
static struct sample {
    uint32_t microseconds, due_slice, done_slice;
} samples[SAMPLES_LIMIT];
static bool is_disturbed[SLICES_LIMIT];
static size_t slices, calm_slices;      // that have ended
static uint64_t begun_ns;
static size_t requests, errors;
static char request[512];
static size_t request_bytes;
static int poller;

static void fail(const char *message) {
    fprintf(stderr, "open_loop: %s\n", message);
    exit(1);
}

// CPU time that the hypervisor gave to others, since the machine began; 0 where nobody counts it.
static uint64_t stolen_ticks(void) {
    static int file = -1;
    if (file < 0) file = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    char line[256] = "";
    if (pread(file, line, sizeof line - 1, 0) < 0) fail("/proc/stat cannot be read");
    unsigned long long stolen = 0;
    sscanf(line, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &stolen);
    return stolen;
}

static uint32_t slice_of(uint64_t ns) { return (uint32_t)((ns - begun_ns) / SLICE_NS); }

// Judges the slices that have ended since the last call.
static void end_slices(void) {
    static uint64_t known;
    uint32_t now = slice_of(now_ns());
    if (now == slices) return;
    if (now >= SLICES_LIMIT) fail("too long");
    uint64_t stolen = stolen_ticks();
    for (; slices < now; slices++) {
        is_disturbed[slices] = slices == 0 || stolen != known;
        calm_slices += !is_disturbed[slices];
    }
    known = stolen;
}

static bool is_calm(const struct sample *sample) {
    return sample->due_slice && sample->done_slice < slices && !is_disturbed[sample->due_slice - 1] &&
           !is_disturbed[sample->due_slice] && !is_disturbed[sample->done_slice];
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
        if (requests == SAMPLES_LIMIT) fail("too many requests");
        uint64_t now = now_ns();
        uint32_t took = (uint32_t)((now - visit->due_ns) / 1000);
        samples[requests++] = (struct sample){took, slice_of(visit->due_ns), slice_of(now)};
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
    uint32_t a = ((const struct sample *)left)->microseconds, b = ((const struct sample *)right)->microseconds;
    return (a > b) - (a < b);
}

// Moves the samples of calm slices to the front, in ascending order; how many.
static size_t calm_samples(void) {
    size_t count = 0;
    for (size_t i = 0; i < requests; i++)
        if (is_calm(&samples[i])) samples[count++] = samples[i];
    qsort(samples, count, sizeof *samples, ascending);
    return count;
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
    begun_ns = now_ns();
    size_t all = 0, wanted = (size_t)(seconds * 1e9 / SLICE_NS);
    for (; calm_slices < wanted && slices < wanted * PATIENCE; all++) {
        uint64_t due_ns = begun_ns + (uint64_t)((double)all * 1e9 / rate);
        serve(due_ns);
        end_slices();
        come_due(due_ns);
    }
    for (uint64_t give_up = now_ns() + 2000000000; requests < all && now_ns() < give_up;) serve(now_ns() + 1000000);
    errors += all - requests;
    double took = (double)(now_ns() - begun_ns) / 1e9;
    size_t calm = calm_samples();
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.4f, ", requests, errors, took);
    if (calm)
        printf("\"p50\": %u, \"p99\": %u, \"p999\": %u, ", samples[(calm - 1) / 2].microseconds,
               samples[(calm - 1) * 99 / 100].microseconds, samples[(calm - 1) * 999 / 1000].microseconds);
    printf("\"calm\": %zu}\n", calm);
    return 0;
}
