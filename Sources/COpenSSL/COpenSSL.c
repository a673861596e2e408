#include "COpenSSL.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// ---- a BIO over the memory of one step

static int window_read(BIO *bio, char *place, int room) {
    struct copenssl_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (io == NULL || io->input_count == 0 || room <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t count = io->input_count < (size_t)room ? io->input_count : (size_t)room;
    memcpy(place, io->input, count);
    io->input += count;
    io->input_count -= count;
    return (int)count;
}

static int window_write(BIO *bio, const char *bytes, int length) {
    struct copenssl_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (io == NULL || io->output_room == 0 || length <= 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    size_t count = io->output_room < (size_t)length ? io->output_room : (size_t)length;
    memcpy(io->output, bytes, count);
    io->output += count;
    io->output_room -= count;
    return (int)count;
}

static long window_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int window_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static CRYPTO_ONCE method_once = CRYPTO_ONCE_STATIC_INIT;
static BIO_METHOD *method;

static void make_method(void) {
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "martlet window");
    if (made == NULL) return;
    BIO_meth_set_read(made, window_read);
    BIO_meth_set_write(made, window_write);
    BIO_meth_set_ctrl(made, window_control);
    BIO_meth_set_create(made, window_create);
    method = made;
}

int copenssl_attach(SSL *ssl) {
    if (!CRYPTO_THREAD_run_once(&method_once, make_method) || method == NULL) return 0;
    BIO *bio = BIO_new(method);
    if (bio == NULL) return 0;
    SSL_set_bio(ssl, bio, bio);
    return 1;
}

// ---- steps

static BIO *begin(SSL *ssl, struct copenssl_io *io) {
    BIO *bio = SSL_get_rbio(ssl);
    BIO_set_data(bio, io);
    ERR_clear_error();
    return bio;
}

// The memory is the caller's again: a BIO that kept it would read what is no longer there.
static int end(SSL *ssl, BIO *bio, int result) {
    int code = result > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
    BIO_set_data(bio, NULL);
    return code;
}

int copenssl_handshake(SSL *ssl, struct copenssl_io *io) {
    BIO *bio = begin(ssl, io);
    return end(ssl, bio, SSL_do_handshake(ssl));
}

int copenssl_read(SSL *ssl, struct copenssl_io *io, void *plain, size_t room, size_t *count) {
    BIO *bio = begin(ssl, io);
    *count = 0;
    return end(ssl, bio, SSL_read_ex(ssl, plain, room, count));
}

int copenssl_write(SSL *ssl, struct copenssl_io *io, const void *plain, size_t length, size_t *count) {
    BIO *bio = begin(ssl, io);
    *count = 0;
    return end(ssl, bio, SSL_write_ex(ssl, plain, length, count));
}

int copenssl_close(SSL *ssl, struct copenssl_io *io) {
    BIO *bio = begin(ssl, io);
    int result = SSL_shutdown(ssl);
    // 0: ours is sent, the peer's has not come. That is all we asked for.
    return end(ssl, bio, result == 0 ? 1 : result);
}

// ---- macros

int copenssl_set_versions(SSL_CTX *context, int lowest, int highest) {
    return SSL_CTX_set_min_proto_version(context, lowest) && SSL_CTX_set_max_proto_version(context, highest);
}

int copenssl_set_groups(SSL_CTX *context, const char *groups) { return (int)SSL_CTX_set1_groups_list(context, groups); }

void copenssl_set_memory_mode(SSL_CTX *context) {
    SSL_CTX_set_mode(
        context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

void copenssl_set_safe_options(SSL_CTX *context) {
    SSL_CTX_set_options(
        context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                     SSL_OP_PRIORITIZE_CHACHA);
}

int copenssl_cipher_count(const SSL_CTX *context) { return sk_SSL_CIPHER_num(SSL_CTX_get_ciphers(context)); }

const SSL_CIPHER *copenssl_cipher(const SSL_CTX *context, int index) {
    return sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(context), index);
}

void copenssl_no_session_cache(SSL_CTX *context) { SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); }

void copenssl_no_tickets(SSL_CTX *context) { SSL_CTX_set_options(context, SSL_OP_NO_TICKET); }

void copenssl_set_certificate_list_limit(SSL_CTX *context, long bytes) { SSL_CTX_set_max_cert_list(context, bytes); }

void copenssl_on_server_name(SSL_CTX *context, int (*callback)(SSL *, int *, void *), void *argument) {
    SSL_CTX_set_tlsext_servername_callback(context, callback);
    SSL_CTX_set_tlsext_servername_arg(context, argument);
}

int copenssl_set_server_name(SSL *ssl, const char *name) { return (int)SSL_set_tlsext_host_name(ssl, name); }

int copenssl_reason(unsigned long code) { return ERR_GET_REASON(code); }

int copenssl_library(unsigned long code) { return ERR_GET_LIB(code); }

// ---- tickets

int copenssl_ticket(const uint8_t *key, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal) {
    const EVP_CIPHER *kind = EVP_aes_256_cbc();
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(key + 48), 32),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    if (!EVP_MAC_CTX_set_params(mac, parameters)) return 0;
    if (!seal) return EVP_DecryptInit_ex(cipher, kind, NULL, key + 16, iv);
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(kind)) != 1) return 0;
    return EVP_EncryptInit_ex(cipher, kind, NULL, key + 16, iv);
}

// ---- keys, certificates

EVP_PKEY *copenssl_new_ec_key(void) { return EVP_EC_gen("P-256"); }

EVP_PKEY *copenssl_new_rsa_key(int bits) { return EVP_RSA_gen((unsigned)bits); }

STACK_OF(X509) *copenssl_new_chain(void) { return sk_X509_new_null(); }

int copenssl_chain_push(STACK_OF(X509) *chain, X509 *certificate) { return sk_X509_push(chain, certificate); }

void copenssl_chain_free(STACK_OF(X509) *chain) { sk_X509_pop_free(chain, X509_free); }

size_t copenssl_memory(BIO *bio, const uint8_t **bytes) {
    char *start = NULL;
    long count = BIO_get_mem_data(bio, &start);
    *bytes = (const uint8_t *)start;
    return count > 0 ? (size_t)count : 0;
}

int copenssl_alternative_name(const GENERAL_NAMES *names, int index, const uint8_t **bytes, size_t *count) {
    if (index >= sk_GENERAL_NAME_num(names)) return COPENSSL_NAME_NONE;
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    const ASN1_STRING *value = NULL;
    int kind = COPENSSL_NAME_OTHER;
    if (name->type == GEN_DNS) {
        value = name->d.dNSName;
        kind = COPENSSL_NAME_DNS;
    } else if (name->type == GEN_IPADD) {
        value = name->d.iPAddress;
        kind = COPENSSL_NAME_IP;
    }
    *bytes = value != NULL ? ASN1_STRING_get0_data(value) : NULL;
    *count = value != NULL ? (size_t)ASN1_STRING_length(value) : 0;
    return kind;
}

int copenssl_common_name(const X509 *certificate, char *text, int capacity) {
    return X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, capacity);
}

int copenssl_time_text(const ASN1_TIME *time, char *text) {
    struct tm parts;
    if (!ASN1_TIME_to_tm(time, &parts)) return 0;
    return strftime(text, COPENSSL_TIME_BYTES, "%Y-%m-%d %H:%M:%S UTC", &parts) > 0;
}

int copenssl_time_seconds(const ASN1_TIME *time, int64_t *seconds) {
    struct tm parts;
    if (!ASN1_TIME_to_tm(time, &parts)) return 0;
    *seconds = (int64_t)timegm(&parts);
    return 1;
}

int copenssl_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension == NULL) return 0;
    int added = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return added;
}

// ---- measuring

size_t copenssl_heap_bytes(void) {
#ifdef __GLIBC__
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
#else
    return 0;
#endif
}
