// See client.h.
#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOURCES = 16 };

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

SSL_CTX *client_context(const char *alpn) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    bool is_set = context && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)
        && SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") && SSL_CTX_set1_groups_list(context, "X25519")
        && !SSL_CTX_set_alpn_protos(context, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    if (!is_set) return NULL;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    // Ten thousand connections with buffers for whole records would be for nothing.
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                                  | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static bool start_tls(struct client *client, SSL_CTX *context, const char *host) {
    client->tls = SSL_new(context);
    if (!client->tls || !SSL_set_fd(client->tls, client->fd)) return false;
    SSL_set_tlsext_host_name(client->tls, host);
    SSL_set_connect_state(client->tls);
    return true;
}

bool client_open(struct client *client, int port, unsigned number, SSL_CTX *context, const char *host, int poller,
                 uint64_t token) {
    *client = (struct client){socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), NULL};
    if (client->fd < 0) return false;
    int on = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    struct sockaddr_in source = {.sin_family = AF_INET}, server = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % SOURCES);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.sin_port = htons((uint16_t)port);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = token};
    bool is_open = !bind(client->fd, (struct sockaddr *)&source, sizeof source)
        && (!connect(client->fd, (struct sockaddr *)&server, sizeof server) || errno == EINPROGRESS)
        && (!context || start_tls(client, context, host)) && !epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event);
    if (!is_open) client_close(client);
    return is_open;
}

static ssize_t plain_result(ssize_t count) {
    if (count > 0) return count;
    if (count == 0) return CLIENT_ENDED;
    return errno == EAGAIN || errno == EINTR ? CLIENT_WAITS : CLIENT_FAILED;
}

static ssize_t tls_result(struct client *client, int outcome, size_t count) {
    if (outcome > 0) return (ssize_t)count;
    switch (SSL_get_error(client->tls, outcome)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return CLIENT_WAITS;
    case SSL_ERROR_ZERO_RETURN: return CLIENT_ENDED;
    case SSL_ERROR_SSL:  // a server that closes without close_notify has still ended, for a benchmark
        return ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? CLIENT_ENDED : CLIENT_FAILED;
    default: return CLIENT_FAILED;
    }
}

ssize_t client_send(struct client *client, const void *bytes, size_t count) {
    if (!client->tls) return plain_result(send(client->fd, bytes, count, MSG_NOSIGNAL));
    size_t sent = 0;
    ERR_clear_error();
    int outcome = SSL_write_ex(client->tls, bytes, count, &sent);
    return tls_result(client, outcome, sent);
}

ssize_t client_receive(struct client *client, void *bytes, size_t count) {
    if (!client->tls) return plain_result(recv(client->fd, bytes, count, 0));
    size_t received = 0;
    ERR_clear_error();
    int outcome = SSL_read_ex(client->tls, bytes, count, &received);
    return tls_result(client, outcome, received);
}

void client_close(struct client *client) {
    SSL_free(client->tls);
    if (client->fd >= 0) close(client->fd);
    *client = (struct client){-1, NULL};
}

void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
