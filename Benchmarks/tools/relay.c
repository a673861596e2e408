// The floor of the side-by-side benchmark: moves bytes between a client and the application and looks at none of them.
//
// One thread, edge-triggered epoll, one upstream connection for each downstream one, one registration for life, no read
// that is known to return nothing. Whatever a proxy costs above this is the price of being a proxy.
// Usage: relay LISTEN_PORT UPSTREAM_PORT      (loopback only)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_BYTES = 64 * 1024, EVENTS_PER_TURN = 256, BACKLOG = 4096 };

// One end of a relayed pair. What was read here and not yet taken by the other end waits in `parked`.
struct end {
    int fd;
    bool is_readable, is_writable, is_closed;
    struct end *other, *next_dead;
    char *parked;
    size_t parked_from, parked_to;
};

static char piece[PIECE_BYTES];
static int poller, listener;
static struct end *dead;

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void finish(struct end *end) {
    struct end *both[] = {end, end->other};
    for (int i = 0; i < 2; i++) {
        if (both[i]->is_closed) continue;
        close(both[i]->fd);
        both[i]->is_closed = true;
        both[i]->next_dead = dead;      // freed after this turn: an event of it may still come
        dead = both[i];
    }
}

// Sends to `to`; returns how much it took, or -1 when the pair is finished.
static ssize_t pass(struct end *to, const char *bytes, size_t count) {
    if (!to->is_writable) return 0;
    ssize_t sent = send(to->fd, bytes, count, MSG_NOSIGNAL);
    if (sent < (ssize_t)count) to->is_writable = false;
    if (sent >= 0) return sent;
    if (errno == EAGAIN) return 0;
    finish(to);
    return -1;
}

static bool pass_parked(struct end *from) {
    size_t count = from->parked_to - from->parked_from;
    if (!count) return true;
    ssize_t sent = pass(from->other, from->parked + from->parked_from, count);
    if (sent < 0) return false;
    from->parked_from += (size_t)sent;
    return from->parked_from == from->parked_to;
}

static bool park(struct end *from, const char *bytes, size_t count) {
    if (!from->parked) from->parked = malloc(PIECE_BYTES);
    if (!from->parked) abort();
    memcpy(from->parked, bytes, count);
    from->parked_from = 0;
    from->parked_to = count;
    return false;
}

static void pump(struct end *from) {
    while (!from->is_closed && pass_parked(from) && from->is_readable) {
        ssize_t count = recv(from->fd, piece, sizeof piece, 0);
        if (count == 0 || (count < 0 && errno != EAGAIN)) return finish(from);
        if (count < (ssize_t)sizeof piece) from->is_readable = false;
        if (count < 0) return;
        ssize_t sent = pass(from->other, piece, (size_t)count);
        if (sent < 0) return;
        if (sent < count) park(from, piece + sent, (size_t)(count - sent));
    }
}

static struct end *open_end(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct end *end = calloc(1, sizeof *end);
    if (!end) abort();
    end->fd = fd;
    return end;
}

static void watch(int fd, void *token, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = token};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void accept_all(const struct sockaddr_in *upstream) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(up, (const struct sockaddr *)upstream, sizeof *upstream) && errno != EINPROGRESS) {
            close(fd);
            close(up);
            continue;
        }
        struct end *client = open_end(fd), *application = open_end(up);
        client->other = application;
        application->other = client;
        watch(fd, client, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        watch(up, application, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
}

static void handle(struct end *end, uint32_t events) {
    if (end->is_closed) return;
    if (events & EPOLLOUT) end->is_writable = true;
    if (events & ~(uint32_t)EPOLLOUT) end->is_readable = true;
    if (events & EPOLLOUT) pump(end->other);
    if (end->is_readable) pump(end);
    if (events & (EPOLLHUP | EPOLLERR) && !end->is_closed) finish(end);
}

int main(int count, char **arguments) {
    if (count != 3) return fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in own = loopback(arguments[1]), upstream = loopback(arguments[2]);
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, BACKLOG)) return perror("relay"), 1;
    poller = epoll_create1(0);
    watch(listener, NULL, EPOLLIN);
    for (;;) {
        static struct epoll_event events[EVENTS_PER_TURN];
        int ready = epoll_wait(poller, events, EVENTS_PER_TURN, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) handle(events[i].data.ptr, events[i].events);
            else accept_all(&upstream);
        }
        while (dead) {
            struct end *end = dead;
            dead = end->next_dead;
            free(end->parked);
            free(end);
        }
    }
}
