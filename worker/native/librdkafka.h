/* What the module knows of librdkafka's interface, which brings no header with confluent-kafka: part of its stable ABI,
 * to which functions are only ever added, and in which a vtype keeps its number. */

#include <stdint.h>
#include <sys/types.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
/* An enum there, and an enum without large values is an int. */
typedef int rd_kafka_resp_err_t;

/* A record, or what came in its place; librdkafka has more behind these. */
typedef struct {
    rd_kafka_resp_err_t err;
    rd_kafka_topic_t *rkt;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
} rd_kafka_message_t;

typedef rd_kafka_resp_err_t on_acknowledgement_t(rd_kafka_t *, rd_kafka_message_t *, void *);
typedef rd_kafka_resp_err_t on_new_t(rd_kafka_t *, const rd_kafka_conf_t *, void *, char *, size_t);
typedef rd_kafka_resp_err_t on_destroy_t(rd_kafka_t *, void *);

enum {
    VTYPE_END = 0,
    VTYPE_RKT = 2,
    VTYPE_PARTITION = 3,
    VTYPE_VALUE = 4,
    VTYPE_KEY = 5,
    VTYPE_MSGFLAGS = 7,
    VTYPE_TIMESTAMP = 8,
    VTYPE_HEADERS = 10,
};
enum { TYPE_PRODUCER = 0, TYPE_CONSUMER = 1, CONF_OK = 0 };
enum { MSG_F_COPY = 2 };
enum { ERR_NO_ERROR = 0, ERR_FAIL = -196 };

/* The oldest that this was tested with, as rd_kafka_version() says it; another major version may be anything. */
enum { VERSION_LEAST = 0x020d0000, VERSION_BEYOND = 0x03000000 };

/* Return type, name behind rd_kafka_, and arguments of each function. */
#define EACH_FUNCTION(F) \
    F(int, version, (void)) \
    F(const char *, version_str, (void)) \
    F(rd_kafka_conf_t *, conf_new, (void)) \
    F(void, conf_destroy, (rd_kafka_conf_t *)) \
    F(int, conf_set, (rd_kafka_conf_t *, const char *, const char *, char *, size_t)) \
    F(int, conf_get, (const rd_kafka_conf_t *, const char *, char *, size_t *)) \
    F(rd_kafka_resp_err_t, conf_interceptor_add_on_new, (rd_kafka_conf_t *, const char *, on_new_t *, void *)) \
    F(rd_kafka_resp_err_t, interceptor_add_on_destroy, (rd_kafka_t *, const char *, on_destroy_t *, void *)) \
    F(rd_kafka_resp_err_t, interceptor_add_on_acknowledgement, \
      (rd_kafka_t *, const char *, on_acknowledgement_t *, void *)) \
    F(int, type, (const rd_kafka_t *)) \
    F(void *, opaque, (const rd_kafka_t *)) \
    F(rd_kafka_topic_t *, topic_new, (rd_kafka_t *, const char *, rd_kafka_topic_conf_t *)) \
    F(void, topic_destroy, (rd_kafka_topic_t *)) \
    F(const char *, topic_name, (const rd_kafka_topic_t *)) \
    F(rd_kafka_resp_err_t, last_error, (void)) \
    F(rd_kafka_resp_err_t, producev, (rd_kafka_t *, ...)) \
    F(rd_kafka_headers_t *, headers_new, (size_t)) \
    F(void, headers_destroy, (rd_kafka_headers_t *)) \
    F(rd_kafka_resp_err_t, header_add, (rd_kafka_headers_t *, const char *, ssize_t, const void *, ssize_t)) \
    F(rd_kafka_queue_t *, queue_get_consumer, (rd_kafka_t *)) \
    F(void, queue_destroy, (rd_kafka_queue_t *)) \
    F(ssize_t, consume_batch_queue, (rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t)) \
    F(void, message_destroy, (rd_kafka_message_t *)) \
    F(const char *, message_errstr, (const rd_kafka_message_t *)) \
    F(int64_t, message_timestamp, (const rd_kafka_message_t *, int *)) \
    F(rd_kafka_resp_err_t, message_headers, (const rd_kafka_message_t *, rd_kafka_headers_t **)) \
    F(rd_kafka_resp_err_t, header_get_all, (const rd_kafka_headers_t *, size_t, const char **, const void **, size_t *))

#define DECLARED(type, name, arguments) type(*name) arguments;
static struct {
    EACH_FUNCTION(DECLARED)
} rk_api;

#define NAMED(type, name, arguments) {"rd_kafka_" #name, &rk_api.name},
static const struct {
    const char *name;
    void *place;
} FUNCTIONS[] = {EACH_FUNCTION(NAMED)};
