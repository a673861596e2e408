// One GET to each of many hosts, in a closed loop: each connection asks for the next host as soon as it has its answer.
//
// Hosts are PREFIX, a number of five digits from 0 to HOSTS - 1, SUFFIX; each once. Keep-alive connections, one thread.
// Usage: wake PORT PREFIX SUFFIX HOSTS CONNECTIONS      (loopback only)
// Prints one line of JSON; times in microseconds. An error is an answer other than 200, or a connection lost. `cpu_us`
// is what a request costs this program itself.
#define _GNU_SOURCE
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { CONNECTIONS_LIMIT = 1024, HOSTS_LIMIT = 100000, ANSWER_LIMIT = 16 * 1024 };
enum { CONNECT_MS = 100, PATIENCE_MS = 30000 };

struct visit {
    struct client client;
    bool is_busy;
    uint64_t begun_ns;
    char bytes[ANSWER_LIMIT];
    size_t count;
};

static struct visit visits[CONNECTIONS_LIMIT];
static uint32_t samples[HOSTS_LIMIT];
static size_t hosts, next_host, answers, errors;
static const char *prefix, *suffix;

static void fail(const char *message) {
    fprintf(stderr, "wake: %s\n", message);
    exit(1);
}

static void ask(struct visit *visit) {
    visit->is_busy = next_host < hosts;
    if (!visit->is_busy) return;
    char request[512];
    const char *text = "GET / HTTP/1.1\r\nHost: %s%05zu%s\r\n\r\n";
    int bytes = snprintf(request, sizeof request, text, prefix, next_host++, suffix);
    visit->count = 0;
    visit->begun_ns = now_ns();
    // A request of some hundred bytes fits an empty socket buffer.
    if (client_send(&visit->client, request, (size_t)bytes) != bytes) fail("a request was not taken");
}

static bool is_whole(struct visit *visit) {
    char *head_end = memmem(visit->bytes, visit->count, "\r\n\r\n", 4);
    if (!head_end) return false;
    char *length = strcasestr(visit->bytes, "\r\ncontent-length:");
    if (!length || length > head_end) fail("an answer without Content-Length");
    size_t whole = (size_t)(head_end - visit->bytes) + 4 + strtoul(length + 17, NULL, 10);
    if (whole >= ANSWER_LIMIT) fail("an answer of more than 16 KiB");
    return visit->count >= whole;
}

static void receive(struct visit *visit) {
    for (;;) {
        ssize_t count = client_receive(&visit->client, visit->bytes + visit->count, ANSWER_LIMIT - 1 - visit->count);
        if (count == CLIENT_WAITS) return;
        if (count < 0) fail("a connection was lost");
        visit->count += (size_t)count;
        visit->bytes[visit->count] = 0;
        if (!visit->is_busy || !is_whole(visit)) continue;
        if (memcmp(visit->bytes, "HTTP/1.1 200", 12)) errors++;
        samples[answers++] = (uint32_t)((now_ns() - visit->begun_ns) / 1000);
        ask(visit);
    }
}

static int ascending(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double cpu_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

int main(int count, char **arguments) {
    if (count != 6) return fprintf(stderr, "usage: wake PORT PREFIX SUFFIX HOSTS CONNECTIONS\n"), 2;
    int port = atoi(arguments[1]);
    prefix = arguments[2];
    suffix = arguments[3];
    hosts = strtoul(arguments[4], NULL, 10);
    size_t connections = strtoul(arguments[5], NULL, 10);
    if (!hosts || hosts > HOSTS_LIMIT || !connections || connections > CONNECTIONS_LIMIT
        || strlen(prefix) + strlen(suffix) > 255)
        return fprintf(stderr, "wake: 1 to %d hosts, 1 to %d connections\n", HOSTS_LIMIT, CONNECTIONS_LIMIT), 2;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    int poller = epoll_create1(0);
    for (size_t i = 0; i < connections; i++)
        if (!client_open(&visits[i].client, port, (unsigned)i, NULL, "", poller, i)) fail("no connection");
    struct epoll_event events[256];
    for (uint64_t until = now_ns() + CONNECT_MS * 1000000; now_ns() < until;) epoll_wait(poller, events, 256, 1);
    double cpu_before = cpu_us();
    uint64_t begun_ns = now_ns();
    for (size_t i = 0; i < connections; i++) ask(&visits[i]);
    while (answers < hosts) {
        int ready = epoll_wait(poller, events, 256, PATIENCE_MS);
        if (ready == 0) break;
        for (int i = 0; i < ready; i++)
            if (events[i].events & (EPOLLIN | EPOLLRDHUP)) receive(&visits[events[i].data.u64]);
    }
    double seconds = (double)(now_ns() - begun_ns) / 1e9, cpu = cpu_us() - cpu_before;
    errors += hosts - answers;
    qsort(samples, answers, sizeof *samples, ascending);
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.4f, \"cpu_us\": %.2f, \"p50\": %u, \"p99\": %u}\n",
           answers, errors, seconds, cpu / (double)hosts, answers ? samples[(answers - 1) * 50 / 100] : 0,
           answers ? samples[(answers - 1) * 99 / 100] : 0);
    return 0;
}
