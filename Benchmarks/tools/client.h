// What the C clients of the benchmarks share: non-blocking connections to 127.0.0.1, plain or TLS 1.3.
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct client {
    int fd;
    SSL *tls;       // NULL on a plain connection
};

enum { CLIENT_WAITS = 0, CLIENT_ENDED = -1, CLIENT_FAILED = -2 };

uint64_t now_ns(void);

// TLS 1.3, X25519 and TLS_AES_128_GCM_SHA256 only, so that every server does the same work; no session is ever resumed
// because none is kept. The certificate is not checked. `alpn` in wire format.
SSL_CTX *client_context(const char *alpn);

// Starts a connection and adds it to `poller`, edge-triggered, with `token`. The source addresses 127.0.0.2 to
// 127.0.0.17 take turns by `number`, so that ports do not run out. `context` may be NULL: no TLS. False with errno set.
bool client_open(struct client *client, int port, unsigned number, SSL_CTX *context, const char *host, int poller,
                 uint64_t token);

// Bytes moved (> 0), CLIENT_WAITS, CLIENT_ENDED (the server closed) or CLIENT_FAILED. The handshake is part of it.
ssize_t client_send(struct client *client, const void *bytes, size_t count);
ssize_t client_receive(struct client *client, void *bytes, size_t count);

void client_close(struct client *client);

// As many descriptors as the process may have.
void raise_descriptor_limit(void);
