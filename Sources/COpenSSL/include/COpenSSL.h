// The one shim over OpenSSL 3: its macros as functions, unions as plain values, and a BIO over the caller's memory.
#ifndef MARTLET_COPENSSL_H
#define MARTLET_COPENSSL_H

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdint.h>

// ---- one step of a connection over memory of the caller

// Bytes of the peer that are not read yet, and room for bytes to the peer. Each step moves both on.
struct copenssl_io {
    const uint8_t *input;
    size_t input_count;
    uint8_t *output;
    size_t output_room;
};

// Gives `ssl` its BIO. Outside of a step the BIO has no bytes and no room. Returns 1, or 0 without memory.
int copenssl_attach(SSL *ssl);

// The steps return SSL_ERROR_NONE, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN or a failure, and
// clear the thread's error queue before they begin.
int copenssl_handshake(SSL *ssl, struct copenssl_io *io);
int copenssl_read(SSL *ssl, struct copenssl_io *io, void *plain, size_t room, size_t *count);
int copenssl_write(SSL *ssl, struct copenssl_io *io, const void *plain, size_t length, size_t *count);
int copenssl_close(SSL *ssl, struct copenssl_io *io);

// ---- macros

int copenssl_set_versions(SSL_CTX *context, int lowest, int highest);
int copenssl_set_groups(SSL_CTX *context, const char *groups);
void copenssl_set_memory_mode(SSL_CTX *context);

// No compression, no renegotiation, no key exchange without forward secrecy; the server's order of ciphers counts, but
// ChaCha20 goes first where the client puts it first (it has no AES instructions).
void copenssl_set_safe_options(SSL_CTX *context);
int copenssl_cipher_count(const SSL_CTX *context);
const SSL_CIPHER *copenssl_cipher(const SSL_CTX *context, int index);
void copenssl_no_session_cache(SSL_CTX *context);
void copenssl_no_tickets(SSL_CTX *context);
void copenssl_set_certificate_list_limit(SSL_CTX *context, long bytes);
void copenssl_on_server_name(SSL_CTX *context, int (*callback)(SSL *, int *, void *), void *argument);
int copenssl_set_server_name(SSL *ssl, const char *name);
int copenssl_reason(unsigned long code);
int copenssl_library(unsigned long code);

// ---- session tickets: AES-256-CBC and HMAC-SHA256 (RFC 5077 §4) with a key of 16 + 32 + 32 bytes (name, cipher, MAC)

enum { COPENSSL_TICKET_KEY_BYTES = 80, COPENSSL_TICKET_NAME_BYTES = 16 };

// Prepares both to seal (`seal` is 1, `iv` is filled) or open (0). Returns 1, or 0 on failure.
int copenssl_ticket(const uint8_t *key, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal);

// ---- keys, certificates

EVP_PKEY *copenssl_new_ec_key(void);
EVP_PKEY *copenssl_new_rsa_key(int bits);
STACK_OF(X509) *copenssl_new_chain(void);
int copenssl_chain_push(STACK_OF(X509) *chain, X509 *certificate);
void copenssl_chain_free(STACK_OF(X509) *chain);
size_t copenssl_memory(BIO *bio, const uint8_t **bytes);

enum { COPENSSL_NAME_NONE = 0, COPENSSL_NAME_DNS = 1, COPENSSL_NAME_IP = 2, COPENSSL_NAME_OTHER = 3 };

// The alternative name at `index`: its kind, COPENSSL_NAME_NONE past the end, and its bytes.
int copenssl_alternative_name(const GENERAL_NAMES *names, int index, const uint8_t **bytes, size_t *count);

// The common name of the subject, at most `capacity` bytes with the closing 0. Returns its length, or -1.
int copenssl_common_name(const X509 *certificate, char *text, int capacity);

enum { COPENSSL_TIME_BYTES = 32 };

// "2026-01-31 23:59:59 UTC", closed with a 0. Returns 1, or 0 for a time that is none.
int copenssl_time_text(const ASN1_TIME *time, char *text);

// Seconds since 1970. Returns 1, or 0 for a time that is none.
int copenssl_time_seconds(const ASN1_TIME *time, int64_t *seconds);

// Adds an extension in the words of OpenSSL's configuration. Returns 1 or 0.
int copenssl_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value);

// ---- measuring

// Bytes of the heap in use, over all arenas: what a connection costs is found by closing many. 0 where glibc is not.
size_t copenssl_heap_bytes(void);

#endif
