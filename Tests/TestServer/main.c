// martlet-test-server: the application behind Martlet in tests, benchmarks and the example `compiled`.
//
// HTTP/1.1 (and 1.0) with keep-alive and pipelining, one thread, edge-triggered epoll. It is a well-behaved
// application by default and a badly behaved one on request. It listens on loopback only.
//
// Environment
//   PORT             port to listen on; default 8080; 0 picks one. Printed as "listening on 127.0.0.1:PORT" on stdout.
//   TARGET           `/` answers "Hello TARGET!"; without it `/` answers 1 KiB
//   TIMES=off        leaves out the X- fields below (the plain 1 KiB answer of the side-by-side benchmark)
//   START_DELAY_MS   waits before it listens; SIGTERM ends the wait
//   START_EXIT       exits with this code instead of listening (after START_DELAY_MS)
//   READY_DELAY_MS   /healthz answers 503 until this long after listening
//   IDLE_MS          closes a connection that was idle for so long, without a word
//   TERM_DELAY_MS    goes on as before for so long after SIGTERM
//   IGNORE_TERM=1    ignores SIGTERM
//
// Every answer carries X-Listen-Ns (CLOCK_MONOTONIC at listen), X-Request-Ns (when the first byte of the request was
// read), X-Pod (the process id) and, when K_REVISION is set, X-Revision.
//
// Endpoints; unless said otherwise the request body is read first, and thrown away
//   /                see TARGET                     /healthz         200 "ok", or 503
//   /bytes/N         N bytes, Content-Length        /health?ok=0|1   what /healthz says from now on
//   /chunked/N       N bytes, chunked               /stats           counts, JSON
//        ?chunk=BYTES a piece (16384), &ms=PAUSE    /times           listen, accept, request and answer times
//   /slow?ms=1000    answers after ms               /env             the environment, a line each
//   /status/CODE     200 to 999                     /process         pid, parent, group, folder
//   /headers         the request head as received   /log?line=TEXT   a line to stdout, or &to=stderr
//   /echo            the body back while it comes, framed as it came, chunked trailers included
//   /upload          bytes and FNV-1a of the body   /trailers        chunked with two trailer fields
//   /103             103 Early Hints, then 200      /early           answers before the body is read
//   /overlap?ms=20   500 when another request is in flight in this process, else 200 after ms
//   /close           says Connection: close         /drop[?reset=1]  answers, then closes (resets) unannounced
//   /half            half a body, 20 ms, close      /reset           half a body, 20 ms, RST
//        ?at=start   nothing before the end
//   /garbage         not HTTP, then closes          /hang            never answers
//   /exit?code=1     exits; ?signal=9 raises it     /unlisten        closes the listening socket
//   /ws              WebSocket echo (RFC 6455)      /tunnel          Upgrade: echo, then bytes are echoed
//
// /stats: requests; in_flight and max_in_flight; aborted (the client went away before its answer was complete);
// overlaps (refused by /overlap); connections accepted; open_connections.
//
// SIGTERM: stops listening, closes idle connections, finishes what is in flight with Connection: close, prints
// "stopped after N requests" on stdout and exits 0.
#define _GNU_SOURCE
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 256, BACKLOG = 4096 };

struct options options;
struct statistics statistics;
bool is_stopping, is_unhealthy;

static int poller = -1, listener = -1, signals = -1;
static struct connection *connections, *graveyard, *again;
static uint64_t next_wake_ns = UINT64_MAX, stop_at_ns;

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "martlet-test-server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long setting(const char *name, long fallback) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : fallback;
}

static uint64_t setting_ns(const char *name) {
    long milliseconds = setting(name, 0);
    return milliseconds > 0 ? (uint64_t)milliseconds * 1000000 : 0;
}

// ---------------------------------------------------------------- connections and timers

static void wake_by(uint64_t deadline_ns) {
    if (deadline_ns < next_wake_ns) next_wake_ns = deadline_ns;
}

void set_timer(struct connection *c, uint64_t delay_ns, void (*later)(struct connection *)) {
    c->deadline_ns = now_ns() + delay_ns;
    c->later = later;
    wake_by(c->deadline_ns);
}

void enlist(struct connection *c) {
    c->next = connections;
    if (connections) connections->previous = c;
    connections = c;
}

void bury(struct connection *c) {
    if (c->previous) c->previous->next = c->next;
    else connections = c->next;
    if (c->next) c->next->previous = c->previous;
    c->is_dead = true;
    if (c->is_queued) return;      // already in `again`, which buries it
    c->next_again = graveyard;     // not freed yet: later events of this turn may still point here
    graveyard = c;
}

void queue_again(struct connection *c) {
    if (c->is_queued) return;
    c->is_queued = true;
    c->next_again = again;
    again = c;
}

static void run_queued(void) {
    struct connection *batch = again;
    again = NULL;
    while (batch) {
        struct connection *c = batch;
        batch = c->next_again;
        c->is_queued = false;
        if (c->is_dead) {
            c->next_again = graveyard;
            graveyard = c;
        } else {
            drive(c);
        }
    }
}

static void free_dead(void) {
    while (graveyard) {
        struct connection *c = graveyard;
        graveyard = c->next_again;
        free(c->in.bytes);
        free(c->out.bytes);
        free(c->head_copy.bytes);
        free(c);
    }
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) abort();
        c->fd = fd;
        c->accepted_ns = now_ns();
        enlist(c);
        statistics.connections++;
        statistics.open_connections++;
        begin_idle(c);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) close_connection(c, false);
    }
}

static void run_timers(void) {
    uint64_t now = now_ns();
    if (now < next_wake_ns) return;
    next_wake_ns = UINT64_MAX;
    for (struct connection *c = connections, *next; c; c = next) {
        next = c->next;
        if (!c->deadline_ns) continue;
        if (c->deadline_ns > now) {
            wake_by(c->deadline_ns);
            continue;
        }
        c->deadline_ns = 0;
        c->later(c);
        drive(c);
    }
    if (stop_at_ns && !is_stopping) wake_by(stop_at_ns);
}

// ---------------------------------------------------------------- life

void stop_listening(void) {
    if (listener >= 0) close(listener);
    listener = -1;
}

static void stop(void) {
    is_stopping = true;
    if (listener >= 0) accept_all();      // those already in the backlog are served
    stop_listening();
    for (struct connection *c = connections, *next; c; c = next) {
        next = c->next;
        if (c->mode == MODE_WEBSOCKET) close_websocket(c, 1001);
        if (c->mode == MODE_TUNNEL) close_connection(c, false);
        if (!c->is_dead) {
            c->readable = true;
            drive(c);
        }
    }
}

static void receive_signal(void) {
    struct signalfd_siginfo information;
    if (read(signals, &information, sizeof information) != sizeof information) return;
    if (setting("IGNORE_TERM", 0) && information.ssi_signo == SIGTERM) return;
    stop_at_ns = now_ns() + setting_ns("TERM_DELAY_MS");
    wake_by(stop_at_ns);
}

static void listen_on_loopback(void) {
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)setting("PORT", 8080))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) fail("bind");
    options.listen_ns = now_ns();
    if (listen(listener, BACKLOG)) fail("listen");
    socklen_t size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    dprintf(1, "listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
}

// Waits START_DELAY_MS with SIGTERM and SIGINT blocked, so that one of them ends the wait and the program.
static void delay_start(const sigset_t *set) {
    uint64_t delay = setting_ns("START_DELAY_MS");
    struct timespec time = {.tv_sec = (time_t)(delay / 1000000000), .tv_nsec = (long)(delay % 1000000000)};
    if (delay && sigtimedwait(set, NULL, &time) > 0) exit(0);
    long code = setting("START_EXIT", -1);
    if (code >= 0) {
        fprintf(stderr, "martlet-test-server: told to exit with %ld\n", code);
        exit((int)code);
    }
}

static void watch(int fd, void *token) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = token};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void read_options(void) {
    const char *times = getenv("TIMES"), *revision = getenv("K_REVISION");
    options.target = getenv("TARGET");
    options.revision = revision ? revision : "";
    options.stamps_times = !times || strcmp(times, "off");
    options.idle_ns = setting_ns("IDLE_MS");
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int milliseconds_to_wait(void) {
    if (again) return 0;
    if (next_wake_ns == UINT64_MAX) return -1;
    uint64_t now = now_ns();
    return now >= next_wake_ns ? 0 : (int)((next_wake_ns - now) / 1000000 + 1);
}

static void run_events(void) {
    static struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(poller, events, EVENTS_PER_TURN, milliseconds_to_wait());
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].data.ptr == &listener) accept_all();
        else if (events[i].data.ptr == &signals) receive_signal();
        else if (!c->is_dead) {
            if (events[i].events & ~(uint32_t)EPOLLOUT) c->readable = true;
            if (events[i].events & EPOLLOUT) c->writable = true;
            drive(c);
        }
    }
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    read_options();
    raise_descriptor_limit();
    delay_start(&set);
    listen_on_loopback();
    options.ready_at_ns = now_ns() + setting_ns("READY_DELAY_MS");
    poller = epoll_create1(EPOLL_CLOEXEC);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (poller < 0 || signals < 0) fail("epoll or signalfd");
    watch(listener, &listener);
    watch(signals, &signals);
    while (!is_stopping || connections) {
        run_events();
        run_queued();
        run_timers();
        if (stop_at_ns && !is_stopping && now_ns() >= stop_at_ns) stop();
        free_dead();
    }
    dprintf(1, "stopped after %llu requests\n", (unsigned long long)statistics.requests);
    return 0;
}
