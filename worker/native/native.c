/* The native path: gives columns of records to librdkafka, and takes them, without a call from Python for each.
 *
 * It makes no client and includes no header of librdkafka: it works on the clients of confluent-kafka, and finds the
 * functions in the library that confluent-kafka is linked to. The same file is a Python module and a plugin of
 * librdkafka (`plugin.library.paths`): as a plugin it is told of each client that is made, and when one goes.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "librdkafka.h"

static int is_loaded = 0;
/* confluent-kafka's own, which are around its calls that may wait. `begin` and `end` let go of Python's lock and take
 * it again, and the client's callbacks (errors, statistics, logs, tokens), which are served in the call, look for what
 * `begin` has left in the thread: without these two records are taken from Python. `enter` and `leave` let one thread
 * into a consumer, where it does that (2.16): who closes one must not find another in its queue. */
static struct {
    void (*begin)(void *owner, void *state);
    int (*end)(void *owner, void *state);
    int (*enter)(void *owner);
    void (*leave)(void *owner);
} confluent;
static const struct {
    const char *name;
    void *place;
} CONFLUENT[] = {
    {"CallState_begin", &confluent.begin},
    {"CallState_end", &confluent.end},
    {"Handle_serialize_enter", &confluent.enter},
    {"Handle_serialize_exit", &confluent.leave},
};

/* ---- The clients that are open ---- */

/* Kafka's bound is 249. */
enum { TOPIC_SIZE = 256 };

/* One client. Guarded by `lock`; the last user wakes whoever waits to destroy it. */
struct client {
    struct client *next;
    rd_kafka_t *rk;
    /* The Python object: confluent-kafka gives it to librdkafka as the client's opaque. */
    void *owner;
    int type;
    int users;
    /* The first record since `missed` was asked that was not delivered; no error: there is none. */
    rd_kafka_resp_err_t missed;
    int32_t missed_partition;
    char missed_topic[TOPIC_SIZE];
};

static struct client *clients = NULL;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t unused = PTHREAD_COND_INITIALIZER;

/* Where the client is noted, or NULL. With `lock` held. */
static struct client **find(const rd_kafka_t *rk) {
    struct client **place = &clients;
    while (*place != NULL && (*place)->rk != rk)
        place = &(*place)->next;
    return place;
}

/* In a thread of librdkafka, once for each record. It may also come after on_destroy, when there is no client here. */
static rd_kafka_resp_err_t on_acknowledgement(rd_kafka_t *rk, rd_kafka_message_t *message, void *nothing) {
    (void)nothing;
    if (message->err == ERR_NO_ERROR)
        return ERR_NO_ERROR;
    pthread_mutex_lock(&lock);
    struct client *client = *find(rk);
    if (client != NULL && client->missed == ERR_NO_ERROR) {
        client->missed = message->err;
        client->missed_partition = message->partition;
        const char *topic = message->rkt == NULL ? "" : rk_api.topic_name(message->rkt);
        snprintf(client->missed_topic, sizeof(client->missed_topic), "%s", topic);
    }
    pthread_mutex_unlock(&lock);
    return ERR_NO_ERROR;
}

/* In the thread that closes the client, before librdkafka lets go of anything; also when making it fails. */
static rd_kafka_resp_err_t on_destroy(rd_kafka_t *rk, void *nothing) {
    (void)nothing;
    pthread_mutex_lock(&lock);
    struct client **place = find(rk);
    struct client *gone = *place;
    if (gone != NULL) {
        *place = gone->next;
        while (gone->users > 0)
            pthread_cond_wait(&unused, &lock);
    }
    pthread_mutex_unlock(&lock);
    free(gone);
    return ERR_NO_ERROR;
}

/* In a transaction nobody has to look at each record: it cannot be committed without one that was not delivered. */
static rd_kafka_resp_err_t add_interceptors(rd_kafka_t *rk, const rd_kafka_conf_t *conf) {
    size_t size = 0;
    int has_id = rk_api.conf_get(conf, "transactional.id", NULL, &size) == CONF_OK && size > 1;
    rd_kafka_resp_err_t error = rk_api.interceptor_add_on_destroy(rk, "streamcluster", on_destroy, NULL);
    if (error != ERR_NO_ERROR || has_id || rk_api.type(rk) != TYPE_PRODUCER)
        return error;
    return rk_api.interceptor_add_on_acknowledgement(rk, "streamcluster", on_acknowledgement, NULL);
}

/* In the thread that makes a client. One that is not noted works as ever, and `produce` and `take` refuse it. */
static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *nothing, char *text, size_t size) {
    (void)nothing;
    struct client *client = malloc(sizeof(*client));
    if (client == NULL || add_interceptors(rk, conf) != ERR_NO_ERROR) {
        free(client);
        snprintf(text, size, "streamcluster cannot note a client");
        return ERR_FAIL;
    }
    *client = (struct client){.rk = rk, .owner = rk_api.opaque(rk), .type = rk_api.type(rk)};
    pthread_mutex_lock(&lock);
    client->next = clients;
    clients = client;
    pthread_mutex_unlock(&lock);
    return ERR_NO_ERROR;
}

/* What librdkafka calls when a client's configuration names this file as a plugin. */
__attribute__((visibility("default")))
rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **opaque, char *text, size_t size) {
    (void)opaque;
    if (!is_loaded) {
        snprintf(text, size, "streamcluster's native path is not loaded");
        return ERR_FAIL;
    }
    return rk_api.conf_interceptor_add_on_new(conf, "streamcluster", on_new, NULL);
}

/* The client of a Python object, which stays until it is given back; NULL: it has none of this type that is open. */
static struct client *borrow(const void *owner, int type) {
    pthread_mutex_lock(&lock);
    struct client *client = clients;
    while (client != NULL && (client->owner != owner || client->type != type))
        client = client->next;
    if (client != NULL)
        client->users++;
    pthread_mutex_unlock(&lock);
    return client;
}

static void give_back(struct client *client) {
    pthread_mutex_lock(&lock);
    if (--client->users == 0)
        pthread_cond_broadcast(&unused);
    pthread_mutex_unlock(&lock);
}

/* ---- Records ---- */

/* A record as librdkafka gets it. The bytes are those of Python's objects, which the caller keeps. */
struct record {
    const char *key;
    const char *value;
    rd_kafka_headers_t *headers;
    size_t key_size;
    size_t value_size;
    int64_t timestamp;
    int32_t partition;
};

enum { BY_KEY = -1, AT_COMMIT = 0 };

/* Records as Python has them. Keys and values are our own lists, of the records from `start` on; the others are lists
 * of all records, or None: nobody chose anything. */
struct columns {
    Py_ssize_t start;
    PyObject *keys;
    PyObject *values;
    PyObject *timestamps;
    PyObject *partitions;
    PyObject *headers;
};

/* Bytes, text as UTF-8, or None: what confluent-kafka takes. */
static int read_bytes(PyObject *object, const char **bytes, size_t *size, const char *what, Py_ssize_t index) {
    if (object == Py_None) {
        *bytes = NULL;
        *size = 0;
        return 0;
    }
    Py_ssize_t count;
    if (PyUnicode_Check(object)) {
        *bytes = PyUnicode_AsUTF8AndSize(object, &count);
    } else if (PyBytes_Check(object)) {
        *bytes = PyBytes_AsString(object);
        count = PyBytes_Size(object);
    } else {
        PyErr_Format(PyExc_TypeError, "the %s of record %zd is neither bytes, text nor None", what, index);
        return -1;
    }
    if (*bytes == NULL)
        return -1;
    *size = (size_t)count;
    return 0;
}

static int read_number(PyObject *object, int64_t *number, const char *what, Py_ssize_t index) {
    /* Not whatever has __index__: that is code, which could change what is being read. */
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "the %s of record %zd is no int", what, index);
        return -1;
    }
    *number = PyLong_AsLongLong(object);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static int read_partition(PyObject *object, int32_t *partition, Py_ssize_t index) {
    int64_t number;
    if (read_number(object, &number, "partition", index) < 0)
        return -1;
    if (number < INT32_MIN || number > INT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "the partition of record %zd has more than 32 bits", index);
        return -1;
    }
    *partition = (int32_t)number;
    return 0;
}

static int read_header(PyObject *pair, rd_kafka_headers_t *headers, Py_ssize_t index) {
    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_Format(PyExc_TypeError, "a header of record %zd is no tuple of name and value", index);
        return -1;
    }
    Py_ssize_t name_size;
    const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(pair, 0), &name_size);
    if (name == NULL)
        return -1;
    const char *value;
    size_t size;
    if (read_bytes(PyTuple_GetItem(pair, 1), &value, &size, "value of a header", index) < 0)
        return -1;
    if (rk_api.header_add(headers, name, name_size, value, (ssize_t)size) != ERR_NO_ERROR) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The headers of a record, copied; NULL for none. */
static int read_headers(PyObject *pairs, rd_kafka_headers_t **headers, Py_ssize_t index) {
    *headers = NULL;
    if (pairs == Py_None)
        return 0;
    if (!PyList_Check(pairs)) {
        PyErr_Format(PyExc_TypeError, "the headers of record %zd are no list and not None", index);
        return -1;
    }
    /* Nothing below runs Python code, so the list stays as it is. */
    Py_ssize_t count = PyList_Size(pairs);
    if (count == 0)
        return 0;
    *headers = rk_api.headers_new((size_t)count);
    for (Py_ssize_t at = 0; at < count; at++)
        if (read_header(PyList_GetItem(pairs, at), *headers, index) < 0)
            return -1;
    return 0;
}

static PyObject *item(const struct columns *columns, PyObject *column, Py_ssize_t at) {
    return column == Py_None ? NULL : PyList_GetItem(column, columns->start + at);
}

/* Nothing in here runs Python code, so the lists stay as they are. */
static int read_record(const struct columns *columns, Py_ssize_t at, struct record *record, int32_t partition) {
    PyObject *one;
    if (read_bytes(PyList_GetItem(columns->keys, at), &record->key, &record->key_size, "key", at) < 0 ||
        read_bytes(PyList_GetItem(columns->values, at), &record->value, &record->value_size, "value", at) < 0)
        return -1;
    record->timestamp = AT_COMMIT;
    if ((one = item(columns, columns->timestamps, at)) != NULL &&
        read_number(one, &record->timestamp, "timestamp", at) < 0)
        return -1;
    record->partition = BY_KEY;
    if ((one = item(columns, columns->partitions, at)) != NULL && read_partition(one, &record->partition, at) < 0)
        return -1;
    if (record->partition == BY_KEY)
        record->partition = partition;
    return (one = item(columns, columns->headers, at)) == NULL ? 0 : read_headers(one, &record->headers, at);
}

/* Give them to librdkafka in order, up to the first that it refuses; returns how many it took. */
static Py_ssize_t give(rd_kafka_t *rk, rd_kafka_topic_t *rkt, struct record *records, Py_ssize_t count,
                       rd_kafka_resp_err_t *error) {
    for (Py_ssize_t at = 0; at < count; at++) {
        struct record *one = &records[at];
        /* Without VTYPE_OPAQUE: confluent-kafka looks for nothing then when the record is delivered. */
        *error = rk_api.producev(
            rk, VTYPE_RKT, rkt, VTYPE_PARTITION, one->partition, VTYPE_MSGFLAGS, MSG_F_COPY, VTYPE_VALUE, one->value,
            one->value_size, VTYPE_KEY, one->key, one->key_size, VTYPE_TIMESTAMP, one->timestamp,
            one->headers == NULL ? VTYPE_END : VTYPE_HEADERS, one->headers, VTYPE_END);
        if (*error != ERR_NO_ERROR)
            return at;
        /* Now they are librdkafka's. */
        one->headers = NULL;
    }
    return count;
}

/* As many or more are given without Python's lock: for a few, taking it again costs more than others could gain. */
enum { UNLOCKED_RECORDS = 32 };

/* A topic of the client; NULL with *error set when it refuses the name. */
static Py_ssize_t give_to_topic(rd_kafka_t *rk, const char *topic, struct record *records, Py_ssize_t count,
                                rd_kafka_resp_err_t *error) {
    rd_kafka_topic_t *rkt = rk_api.topic_new(rk, topic, NULL);
    if (rkt == NULL) {
        *error = rk_api.last_error();
        return 0;
    }
    Py_ssize_t given = give(rk, rkt, records, count, error);
    rk_api.topic_destroy(rkt);
    return given;
}

static PyObject *give_columns(PyObject *owner, const char *topic, const struct columns *columns, int32_t partition) {
    Py_ssize_t count = PyList_Size(columns->keys), given = 0, read = 0;
    rd_kafka_resp_err_t error = ERR_NO_ERROR;
    PyObject *answer = NULL;
    struct record *records = PyMem_Calloc((size_t)count, sizeof(*records));
    if (records == NULL)
        return PyErr_NoMemory();
    while (read < count) {
        /* Counted before: one that fails in the middle may have headers. */
        read++;
        if (read_record(columns, read - 1, &records[read - 1], partition) < 0)
            goto done;
    }
    struct client *client = borrow(owner, TYPE_PRODUCER);
    if (client == NULL) {
        PyErr_SetString(PyExc_ValueError, "this is no open producer that was made with the plugin");
        goto done;
    }
    PyThreadState *unlocked = count >= UNLOCKED_RECORDS ? PyEval_SaveThread() : NULL;
    given = give_to_topic(client->rk, topic, records, count, &error);
    /* Before Python's lock: whoever closes the client may hold that, and waits for this. */
    give_back(client);
    if (unlocked != NULL)
        PyEval_RestoreThread(unlocked);
    answer = Py_BuildValue("(ni)", given, error);
done:
    for (Py_ssize_t at = given; at < read; at++)
        if (records[at].headers != NULL)
            rk_api.headers_destroy(records[at].headers);
    PyMem_Free(records);
    return answer;
}

static int check_column(PyObject *column, const char *what, Py_ssize_t least) {
    if (column == Py_None || (PyList_Check(column) && PyList_Size(column) >= least))
        return 0;
    if (PyList_Check(column))
        PyErr_Format(PyExc_ValueError, "%zd %s for the records up to %zd", PyList_Size(column), what, least);
    else
        PyErr_Format(PyExc_TypeError, "the %s are neither a list nor None", what);
    return -1;
}

static PyObject *produce(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *owner, *keys, *values, *answer = NULL;
    const char *topic;
    struct columns own;
    int partition;
    Py_ssize_t end;
    if (!PyArg_ParseTuple(arguments, "OsO!O!OOOinn:produce", &owner, &topic, &PyList_Type, &keys, &PyList_Type, &values,
                          &own.timestamps, &own.partitions, &own.headers, &partition, &own.start, &end))
        return NULL;
    if (!is_loaded || own.start < 0 || own.start > end) {
        PyErr_SetString(PyExc_ValueError, is_loaded ? "that is no range of records" : "load() was not called");
        return NULL;
    }
    /* Others may change the lists while Python's lock is not held, and finalizers when something is made: what is read
     * is held, and looked at behind the last object that is made here. */
    own.keys = PyList_GetSlice(keys, own.start, end);
    own.values = PyList_GetSlice(values, own.start, end);
    if (own.keys != NULL && own.values != NULL && check_column(own.keys, "keys", end - own.start) == 0 &&
        check_column(own.values, "values", end - own.start) == 0 &&
        check_column(own.timestamps, "timestamps", end) == 0 && check_column(own.partitions, "partitions", end) == 0 &&
        check_column(own.headers, "headers", end) == 0)
        answer = give_columns(owner, topic, &own, partition);
    Py_DecRef(own.keys);
    Py_DecRef(own.values);
    return answer;
}

static PyObject *measure(PyObject *module, PyObject *column) {
    (void)module;
    if (!PyList_Check(column)) {
        PyErr_SetString(PyExc_TypeError, "measure takes a list");
        return NULL;
    }
    size_t all = 0, size;
    const char *bytes;
    for (Py_ssize_t at = 0, count = PyList_Size(column); at < count; at++, all += size)
        if (read_bytes(PyList_GetItem(column, at), &bytes, &size, "size", at) < 0)
            return NULL;
    return PyLong_FromSize_t(all);
}

static int is_open(PyObject *owner, int type) {
    struct client *client = borrow(owner, type);
    if (client != NULL)
        give_back(client);
    return client != NULL;
}

static PyObject *is_known(PyObject *module, PyObject *owner) {
    (void)module;
    return PyBool_FromLong(is_open(owner, TYPE_PRODUCER));
}

static int is_consumer(PyObject *owner) {
    return confluent.begin != NULL && confluent.end != NULL && is_open(owner, TYPE_CONSUMER);
}

static PyObject *can_take(PyObject *module, PyObject *owner) {
    (void)module;
    return PyBool_FromLong(is_consumer(owner));
}

/* Counts of references are changed by functions only, which are those of the Python that runs. As macros they are those
 * of the headers: from 3.12 on Py_RETURN_NONE counts nothing, and 3.11 would free its None in the end. */
static PyObject *none(void) {
    Py_IncRef(Py_None);
    return Py_None;
}

/* Takes and clears what on_acknowledgement has noted. */
static PyObject *missed(PyObject *module, PyObject *owner) {
    (void)module;
    struct client *client = borrow(owner, TYPE_PRODUCER);
    if (client == NULL)
        return none();
    char topic[TOPIC_SIZE];
    pthread_mutex_lock(&lock);
    rd_kafka_resp_err_t error = client->missed;
    int32_t partition = client->missed_partition;
    memcpy(topic, client->missed_topic, sizeof(topic));
    client->missed = ERR_NO_ERROR;
    pthread_mutex_unlock(&lock);
    give_back(client);
    if (error == ERR_NO_ERROR)
        return none();
    return Py_BuildValue("(isi)", error, topic, partition);
}

/* ---- Records that are taken ---- */

/* confluent-kafka's bound of one call, and enough for any wait: whoever closes the client waits for it. */
enum { TAKEN_MAX = 1000000, WAIT_MS_MAX = 600000 };

static PyObject *bytes_or_none(const void *bytes, size_t size) {
    return bytes == NULL ? none() : PyBytes_FromStringAndSize(bytes, (Py_ssize_t)size);
}

/* Pairs of name and value, in order; a text: why that cannot be. */
static PyObject *take_headers(const rd_kafka_headers_t *headers) {
    PyObject *pairs = PyList_New(0);
    const char *name;
    const void *value;
    size_t size;
    for (size_t at = 0; pairs != NULL && rk_api.header_get_all(headers, at, &name, &value, &size) == 0; at++) {
        PyObject *text = PyUnicode_FromString(name);
        PyObject *pair = text == NULL ? NULL : Py_BuildValue("(NN)", text, bytes_or_none(value, size));
        if (pair == NULL || PyList_Append(pairs, pair) < 0) {
            Py_DecRef(pairs);
            pairs = NULL;
        }
        Py_DecRef(pair);
    }
    if (pairs != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return pairs;
    PyErr_Clear();
    return PyUnicode_FromString("a header's name is not UTF-8");
}

/* One record's part of the columns; columns[4], the headers, is made when the first record has some. */
static int take_record(const rd_kafka_message_t *message, PyObject **columns, Py_ssize_t at, Py_ssize_t count) {
    int type;
    int64_t timestamp = rk_api.message_timestamp(message, &type);
    memcpy(PyBytes_AsString(columns[0]) + at * 8, &message->offset, 8);
    memcpy(PyBytes_AsString(columns[1]) + at * 8, &timestamp, 8);
    PyObject *key = bytes_or_none(message->key, message->key_len);
    if (key == NULL || PyList_SetItem(columns[2], at, key) < 0)
        return -1;
    PyObject *value = bytes_or_none(message->payload, message->len);
    if (value == NULL || PyList_SetItem(columns[3], at, value) < 0)
        return -1;
    rd_kafka_headers_t *headers = NULL;
    int has_headers = rk_api.message_headers(message, &headers) == ERR_NO_ERROR && headers != NULL;
    if (has_headers && columns[4] == NULL) {
        columns[4] = PyList_New(count);
        for (Py_ssize_t before = 0; columns[4] != NULL && before < count; before++)
            PyList_SetItem(columns[4], before, none());
    }
    if (!has_headers)
        return 0;
    PyObject *pairs = columns[4] == NULL ? NULL : take_headers(headers);
    return pairs == NULL ? -1 : PyList_SetItem(columns[4], at, pairs);
}

/* Records of one partition: topic, partition, offsets, timestamps, keys, values, headers or None. */
static PyObject *take_columns(rd_kafka_message_t **messages, Py_ssize_t count) {
    PyObject *columns[5] = {PyBytes_FromStringAndSize(NULL, count * 8), PyBytes_FromStringAndSize(NULL, count * 8),
                            PyList_New(count), PyList_New(count), NULL};
    PyObject *answer = NULL;
    int is_right = columns[0] != NULL && columns[1] != NULL && columns[2] != NULL && columns[3] != NULL;
    for (Py_ssize_t at = 0; is_right && at < count; at++)
        is_right = take_record(messages[at], columns, at, count) == 0;
    if (is_right)
        answer = Py_BuildValue("(siOOOOO)", rk_api.topic_name(messages[0]->rkt), messages[0]->partition, columns[0],
                               columns[1], columns[2], columns[3], columns[4] == NULL ? Py_None : columns[4]);
    for (int at = 0; at < 5; at++)
        Py_DecRef(columns[at]);
    return answer;
}

/* In place of a record: topic, partition, offset, error code and what librdkafka says of it. */
static PyObject *take_error(const rd_kafka_message_t *message) {
    const char *topic = message->rkt == NULL ? "" : rk_api.topic_name(message->rkt);
    const char *text = rk_api.message_errstr(message);
    PyObject *words = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    return Py_BuildValue("(siLiN)", topic, message->partition, (long long)message->offset, message->err, words);
}

static PyObject *take_all(rd_kafka_message_t **messages, Py_ssize_t count) {
    PyObject *taken = PyList_New(0);
    Py_ssize_t start = 0, end;
    for (; taken != NULL && start < count; start = end) {
        const rd_kafka_message_t *first = messages[start];
        end = start + 1;
        while (first->err == ERR_NO_ERROR && end < count && messages[end]->err == ERR_NO_ERROR &&
               messages[end]->rkt == first->rkt && messages[end]->partition == first->partition)
            end++;
        PyObject *one = first->err == ERR_NO_ERROR ? take_columns(messages + start, end - start) : take_error(first);
        if (one == NULL || PyList_Append(taken, one) < 0) {
            Py_DecRef(taken);
            taken = NULL;
        }
        Py_DecRef(one);
    }
    return taken;
}

/* The client is borrowed, and stays so until every record has been given back to librdkafka. */
static PyObject *take_from(struct client *client, int wait_ms, size_t most) {
    PyObject *taken = NULL;
    rd_kafka_message_t **messages = PyMem_Malloc(most * sizeof(*messages));
    if (messages == NULL) {
        give_back(client);
        return PyErr_NoMemory();
    }
    /* confluent-kafka's is of three pointers (2.16). */
    void *state[32] = {NULL};
    confluent.begin(client->owner, state);
    rd_kafka_queue_t *queue = rk_api.queue_get_consumer(client->rk);
    Py_ssize_t count = queue == NULL ? 0 : rk_api.consume_batch_queue(queue, wait_ms, messages, most);
    if (queue != NULL)
        rk_api.queue_destroy(queue);
    /* 0: a callback or a signal's handler has raised an exception, which is set. */
    if (confluent.end(client->owner, state))
        taken = take_all(messages, count);
    PyThreadState *unlocked = count >= UNLOCKED_RECORDS ? PyEval_SaveThread() : NULL;
    for (Py_ssize_t at = 0; at < count; at++)
        rk_api.message_destroy(messages[at]);
    give_back(client);
    if (unlocked != NULL)
        PyEval_RestoreThread(unlocked);
    PyMem_Free(messages);
    return taken;
}

static PyObject *take(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *owner;
    Py_ssize_t most, wait_ms;
    if (!PyArg_ParseTuple(arguments, "Onn:take", &owner, &most, &wait_ms))
        return NULL;
    if (most < 1 || most > TAKEN_MAX || wait_ms < 0 || wait_ms > WAIT_MS_MAX) {
        PyErr_SetString(PyExc_ValueError, "the count or the milliseconds are out of range");
        return NULL;
    }
    /* Nothing is borrowed while others are waited for: who closes the client would wait for this. */
    int is_its = is_consumer(owner), waits = is_its && confluent.enter != NULL && confluent.leave != NULL;
    if (waits && !confluent.enter(owner))
        return NULL;
    struct client *client = is_its ? borrow(owner, TYPE_CONSUMER) : NULL;
    PyObject *taken = NULL;
    if (client == NULL)
        PyErr_SetString(PyExc_ValueError, "this is no open consumer that was made with the plugin");
    else
        taken = take_from(client, (int)wait_ms, (size_t)most);
    if (waits)
        confluent.leave(owner);
    return taken;
}

/* ---- The module ---- */

/* Find the functions in a library that is there already, or in one that it needs: dlsym looks in those too. */
static int find_functions(const char *path) {
    void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL) {
        PyErr_Format(PyExc_OSError, "%s is not loaded", path);
        return -1;
    }
    /* From here on the library is never closed: its functions are kept. */
    for (size_t at = 0; at < sizeof(FUNCTIONS) / sizeof(FUNCTIONS[0]); at++) {
        void *found = dlsym(library, FUNCTIONS[at].name);
        if (found == NULL) {
            PyErr_Format(PyExc_OSError, "%s brings no %s", path, FUNCTIONS[at].name);
            return -1;
        }
        memcpy(FUNCTIONS[at].place, &found, sizeof(found));
    }
    for (size_t at = 0; at < sizeof(CONFLUENT) / sizeof(CONFLUENT[0]); at++) {
        void *found = dlsym(library, CONFLUENT[at].name);
        memcpy(CONFLUENT[at].place, &found, sizeof(found));
    }
    int version = rk_api.version();
    if (version < VERSION_LEAST || version >= VERSION_BEYOND) {
        PyErr_Format(PyExc_OSError, "librdkafka %s is not known to it", rk_api.version_str());
        return -1;
    }
    return 0;
}

/* Whether a client takes this file as a plugin: without one that librdkafka would say so when the first is made. */
static int try_plugin(const char *path) {
    char text[512] = "";
    rd_kafka_conf_t *conf = rk_api.conf_new();
    int result = rk_api.conf_set(conf, "plugin.library.paths", path, text, sizeof(text));
    rk_api.conf_destroy(conf);
    if (result == CONF_OK)
        return 0;
    PyErr_Format(PyExc_OSError, "librdkafka does not take %s as a plugin: %s", path, text);
    return -1;
}

static PyObject *load(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    PyObject *client = NULL, *plugin = NULL, *answer = NULL;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "load takes two paths; %zd given", count);
        return NULL;
    }
    if (PyUnicode_FSConverter(arguments[0], &client) && PyUnicode_FSConverter(arguments[1], &plugin)) {
        is_loaded = is_loaded || find_functions(PyBytes_AsString(client)) == 0;
        if (is_loaded && try_plugin(PyBytes_AsString(plugin)) == 0)
            answer = PyUnicode_FromString(rk_api.version_str());
    }
    Py_DecRef(client);
    Py_DecRef(plugin);
    return answer;
}

static PyMethodDef METHODS[] = {
    {"load", (PyCFunction)(void (*)(void))load, METH_FASTCALL,
     "load(client, plugin)\n--\n\n"
     "Find librdkafka through a library that uses it, and try this file as its plugin; returns librdkafka's version."},
    {"is_known", is_known, METH_O, "is_known(producer)\n--\n\nWhether `produce` can be called with this."},
    {"can_take", can_take, METH_O, "can_take(consumer)\n--\n\nWhether `take` can be called with this."},
    {"take", take, METH_VARARGS,
     "take(consumer, count, milliseconds)\n--\n\n"
     "At most so many records, in order: of consecutive ones of a partition its topic and number, offsets and\n"
     "timestamps as 64-bit numbers in bytes, keys, values, headers or None. An error in place of a record: topic,\n"
     "partition, offset, code, text."},
    {"missed", missed, METH_O,
     "missed(producer)\n--\n\n"
     "The first record since the last call that was not delivered: error code, topic, partition; None: all were.\n"
     "Of a producer without transactions only."},
    {"produce", produce, METH_VARARGS,
     "produce(producer, topic, keys, values, timestamps, partitions, headers, partition, start, end)\n--\n\n"
     "Give the records from start to end to librdkafka, in order; returns how many it took, and its error code or 0."},
    {"measure", measure, METH_O, "measure(column)\n--\n\nHow many bytes these keys or values are."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_doc = "The native path; see worker/native/native.c.", .m_size = -1,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&MODULE); }
