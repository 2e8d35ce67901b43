/* The events of one run that come to a join of two streams: what each meets, and the row that is kept of it.
 *
 * In Python an event costs 3 to 4 us, which is a third of all. Without this module it is Python, with the same result:
 * `Span.arrive`, stream_joins/rows.py and stream_joins/loops.py. Whatever is not the usual case is Python's here too: `slow` is called
 * with the event, does all that it asks for, and says what it brings.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <string.h>

#include "references.h"

/* A row that is known: time and number, as its key ends with them; whether it has met somebody; the value. */
#define STATE_AT 16
#define VALUE_AT 17
/* In the key of the row: the side before the key, its end behind it. */
#define SIDE 1
#define END 2
/* What `counts` has: how many more rows may be known; up to which deadline there are rows that are not; how often
 * buckets have come, gone or become others. */
#define ROOM 0
#define UPTO 1
#define EPOCH 2
#define COUNTS 3
/* Buckets that are at hand: an event looks into three of the other side, and into one of its own. */
#define SHELVES 4
#define OTHERS_FRESH 0
#define OTHERS_OLD SHELVES
#define OWN (2 * SHELVES)
#define ALL_SHELVES (3 * SHELVES)

static PyObject *LOOKS = NULL, *BOUNDS = NULL;

struct pairs {
    PyObject_HEAD
    /* Over the values of the run; then its columns. */
    PyObject *iterator;
    PyObject *keys;
    PyObject *times;
    PyObject *offsets;
    PyObject *data;
    PyObject *marks;
    /* The rows that are known, by bucket and key: fresh ones of the events' own side, and those of the other one. */
    PyObject *own;
    PyObject *others_fresh;
    PyObject *others_old;
    PyObject *live;
    PyObject *tp;
    PyObject *carry;
    PyObject *slow;
    PyObject *decode;
    PyObject *shelves[ALL_SHELVES];
    /* As of the last look at `live`. */
    PyObject *looks;
    /* What `slow` has brought, and is not given yet. */
    PyObject *brought;
    /* Which buckets are on the shelves, and as of when. */
    long long shelved[ALL_SHELVES];
    char is_shelved[ALL_SHELVES];
    long long epoch;
    Py_ssize_t given;
    Py_ssize_t index;
    Py_buffer counts;
    long long number, width, before, after, own_reach, other_reach, finished, floor;
    int is_left, waits;
    /* Others may have had a turn since `live` was looked at. */
    int is_stale;
    int is_running;
};

/* An event, and the partner that it meets: strong references. */
struct event {
    PyObject *value, *key, *data, *partner, *bucket;
    /* Of the partner. */
    long long then;
    int is_fresh;
    long long time, now, offset;
};

enum { FAILED = -1, NOTHING, PAIR, UNUSUAL };

static PyObject *item(PyObject *column, Py_ssize_t index) {
    if (PyList_Check(column))
        return itself(PyList_GetItem(column, index));
    return PySequence_GetItem(column, index);
}

/* 0: an exception is set. */
static int int_of(PyObject *number, long long *found) {
    if (number == NULL)
        return 0;
    *found = PyLong_AsLongLong(number);
    Py_DecRef(number);
    return *found != -1 || PyErr_Occurred() == NULL;
}

static long long floor_of(long long time, long long width) { return time / width - (time % width < 0); }

/* ---- Rows ---- */

/* In their bytes times are in order. */
static void put(unsigned char *at, unsigned long long number) {
    for (int byte = 7; byte >= 0; byte--, number >>= 8)
        at[byte] = (unsigned char)number;
}

static unsigned long long in_order(long long time) { return (unsigned long long)time ^ 1ULL << 63; }

/* 0: it is no row. */
static int time_of(PyObject *entry, long long *time) {
    if (!PyBytes_Check(entry) || PyBytes_Size(entry) < VALUE_AT)
        return 0;
    const unsigned char *data = (const unsigned char *)PyBytes_AsString(entry);
    unsigned long long found = 0;
    for (int byte = 0; byte < 8; byte++)
        found = found << 8 | data[byte];
    *time = (long long)(found ^ 1ULL << 63);
    return 1;
}

static PyObject *entry_of(const char *stamp, char state, const char *value, Py_ssize_t size) {
    PyObject *made = PyBytes_FromStringAndSize(NULL, VALUE_AT + size);
    if (made == NULL)
        return NULL;
    char *to = PyBytes_AsString(made);
    memcpy(to, stamp, STATE_AT);
    to[STATE_AT] = state;
    memcpy(to + VALUE_AT, value, (size_t)size);
    return made;
}

/* A zero byte in a key is followed by another one than the end of the key is. */
static PyObject *row_key_of(char side, PyObject *key, const char *stamp) {
    char *data;
    Py_ssize_t size, zeros = 0;
    if (PyBytes_AsStringAndSize(key, &data, &size) < 0)
        return NULL;
    for (const char *at = data; (at = memchr(at, 0, (size_t)(data + size - at))) != NULL; at++)
        zeros++;
    PyObject *made = PyBytes_FromStringAndSize(NULL, SIDE + size + zeros + END + STATE_AT);
    if (made == NULL)
        return NULL;
    char *to = PyBytes_AsString(made);
    *to++ = side;
    for (Py_ssize_t at = 0; zeros > 0 && at < size; at++) {
        *to++ = data[at];
        if (data[at] == 0)
            *to++ = (char)0xff;
    }
    if (zeros == 0) {
        memcpy(to, data, (size_t)size);
        to += size;
    }
    memset(to, 0, END);
    memcpy(to + END, stamp, STATE_AT);
    return made;
}

struct target {
    char side;
    long long bound;
    PyObject *values, *dirty, *deleted;
};

/* As a view writes bytes; but not what nobody needs any more. */
static int write_row(const struct target *to, PyObject *key, PyObject *entry) {
    long long time;
    if (!time_of(entry, &time)) {
        PyErr_SetString(PyExc_ValueError, "this is no row");
        return -1;
    }
    const char *data = PyBytes_AsString(entry);
    if (time < to->bound && data[STATE_AT] == 'm')
        return 0;
    PyObject *row_key = row_key_of(to->side, key, data);
    PyObject *row = PyBytes_FromStringAndSize(data + STATE_AT, PyBytes_Size(entry) - STATE_AT);
    int wrote = -1;
    if (row_key != NULL && row != NULL && PyDict_SetItem(to->values, row_key, row) == 0 &&
        PyDict_SetItem(to->dirty, row_key, row) == 0)
        wrote = PySet_Size(to->deleted) > 0 && PySet_Discard(to->deleted, row_key) < 0 ? -1 : 0;
    Py_DecRef(row_key);
    Py_DecRef(row);
    return wrote;
}

static int write_rows(const struct target *to, PyObject *key, PyObject *entries) {
    if (!PyList_Check(entries))
        return write_row(to, key, entries);
    for (Py_ssize_t at = 0; at < PyList_Size(entries); at++) {
        PyObject *entry = itself(PyList_GetItem(entries, at));
        int wrote = write_row(to, key, entry);
        Py_DecRef(entry);
        if (wrote < 0)
            return -1;
    }
    return 0;
}

static PyObject *written(PyObject *module, PyObject *arguments) {
    (void)module;
    struct target to;
    PyObject *bucket;
    char *side;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "y#O!LO!O!O!:written", &side, &size, &PyDict_Type, &bucket, &to.bound,
                          &PyDict_Type, &to.values, &PyDict_Type, &to.dirty, &PySet_Type, &to.deleted))
        return NULL;
    if (size != SIDE) {
        PyErr_SetString(PyExc_ValueError, "written(): this is no side");
        return NULL;
    }
    to.side = *side;
    /* Of its own: nothing that is written there may change what is gone through. */
    PyObject *items = PyDict_Items(bucket);
    Py_ssize_t all = items == NULL ? -1 : PyList_Size(items), at = 0;
    for (; at < all; at++) {
        PyObject *item = PyList_GetItem(items, at);
        if (write_rows(&to, PyTuple_GetItem(item, 0), PyTuple_GetItem(item, 1)) < 0)
            break;
    }
    Py_DecRef(items);
    return at == all ? itself(Py_None) : NULL;
}

/* When rows come due: their times, and how much later that is of this side; None: it is no row. */
static PyObject *place_of(PyObject *row_key, long long left, long long right) {
    char *data;
    Py_ssize_t size;
    if (row_key == NULL || PyBytes_AsStringAndSize(row_key, &data, &size) < 0)
        return NULL;
    if (size < SIDE + END + STATE_AT)
        return itself(Py_None);
    unsigned long long place = 0;
    for (int byte = 0; byte < 8; byte++)
        place = place << 8 | (unsigned char)data[size - STATE_AT + byte];
    unsigned char made[8];
    put(made, place + (unsigned long long)(data[0] == '1' ? left : right));
    return PyBytes_FromStringAndSize((char *)made, sizeof(made));
}

static PyObject *places(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *keys;
    long long left, right;
    if (!PyArg_ParseTuple(arguments, "O!LL:places", &PyList_Type, &keys, &left, &right))
        return NULL;
    Py_ssize_t all = PyList_Size(keys);
    PyObject *found = PyList_New(all);
    for (Py_ssize_t at = 0; found != NULL && at < all; at++) {
        PyObject *place = place_of(PyList_GetItem(keys, at), left, right);
        if (place == NULL || PyList_SetItem(found, at, place) < 0)
            let_go(&found);
    }
    return found;
}

/* ---- An event ---- */

/* The bucket of this side that has `number`, a new reference; NULL without an exception: there is none. */
static PyObject *bucket_of(PyObject *buckets, long long number) {
    PyObject *name = PyLong_FromLongLong(number);
    if (name == NULL)
        return NULL;
    PyObject *found = itself(PyDict_GetItemWithError(buckets, name));
    Py_DecRef(name);
    if (found != NULL && !PyDict_Check(found)) {
        PyErr_SetString(PyExc_TypeError, "this is no bucket of rows");
        let_go(&found);
    }
    return found;
}

/* The same, as it is at hand: a new reference. */
static PyObject *shelved(struct pairs *self, int shelf, PyObject *buckets, long long number) {
    shelf += (int)((unsigned long long)number % SHELVES);
    if (!self->is_shelved[shelf] || self->shelved[shelf] != number) {
        PyObject *found = bucket_of(buckets, number), *old = self->shelves[shelf];
        if (found == NULL && PyErr_Occurred())
            return NULL;
        self->shelves[shelf] = found;
        self->shelved[shelf] = number;
        self->is_shelved[shelf] = 1;
        Py_DecRef(old);
    }
    return itself(self->shelves[shelf]);
}

static void clear_shelves(struct pairs *self) {
    for (int shelf = 0; shelf < ALL_SHELVES; shelf++) {
        self->is_shelved[shelf] = 0;
        let_go(&self->shelves[shelf]);
    }
}

/* The partner in this bucket, if there is one that counts, and one alone. */
static int find_in(struct pairs *self, struct event *event, int shelf, PyObject *buckets, long long number) {
    PyObject *bucket = shelved(self, shelf, buckets, number);
    if (bucket == NULL)
        return PyErr_Occurred() ? FAILED : NOTHING;
    PyObject *found = itself(PyDict_GetItemWithError(bucket, event->key));
    Py_DecRef(bucket);
    if (found == NULL)
        return PyErr_Occurred() ? FAILED : NOTHING;
    long long then;
    int is_one = time_of(found, &then) && event->partner == NULL;
    int counts = is_one && then >= event->time - self->before && then <= event->time + self->after &&
                 then >= event->now - self->other_reach;
    if (!counts) {
        Py_DecRef(found);
        return is_one ? NOTHING : UNUSUAL;
    }
    event->partner = found;
    event->then = then;
    event->is_fresh = buckets == self->others_fresh;
    return NOTHING;
}

static int find(struct pairs *self, struct event *event) {
    long long end = floor_of(event->time + self->after, self->width);
    for (long long number = floor_of(event->time - self->before, self->width); number <= end; number++) {
        int found = find_in(self, event, OTHERS_OLD, self->others_old, number);
        if (found == NOTHING)
            found = find_in(self, event, OTHERS_FRESH, self->others_fresh, number);
        if (found != NOTHING)
            return found;
    }
    return event->partner == NULL ? NOTHING : PAIR;
}

/* The partner has waited, and is not written yet: it has met somebody now. */
static int meet(struct pairs *self, struct event *event) {
    const char *data = PyBytes_AsString(event->partner);
    PyObject *met = entry_of(data, 'm', data + VALUE_AT, PyBytes_Size(event->partner) - VALUE_AT);
    PyObject *bucket = shelved(self, OTHERS_FRESH, self->others_fresh, floor_of(event->then, self->width));
    int done = met == NULL || bucket == NULL ? -1 : PyDict_SetItem(bucket, event->key, met);
    Py_DecRef(met);
    Py_DecRef(bucket);
    return done;
}

/* The row of the event, for those that come later. */
static int keep(struct pairs *self, struct event *event) {
    char *data, stamp[STATE_AT];
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(event->data, &data, &size) < 0)
        return -1;
    put((unsigned char *)stamp, in_order(event->time));
    put((unsigned char *)stamp + 8, (unsigned long long)(self->number | event->offset));
    PyObject *entry = entry_of(stamp, self->waits && event->partner == NULL ? 'w' : 'm', data, size);
    int is_kept = entry == NULL ? -1 : PyDict_SetItem(event->bucket, event->key, entry);
    if (is_kept == 0)
        ((long long *)self->counts.buf)[ROOM]--;
    Py_DecRef(entry);
    return is_kept;
}

static int read_event(struct pairs *self, Py_ssize_t index, struct event *event) {
    long long mark;
    if (!int_of(item(self->times, index), &event->time) || !int_of(item(self->offsets, index), &event->offset) ||
        !int_of(item(self->marks, index), &mark))
        return -1;
    event->now = mark < self->floor ? mark : self->floor;
    if (event->now < self->finished)
        event->now = self->finished;
    if ((event->key = item(self->keys, index)) == NULL)
        return -1;
    return (event->data = item(self->data, index)) == NULL ? -1 : 0;
}

/* Until it writes, all that it has found out can be forgotten. */
static int arrive(struct pairs *self, Py_ssize_t index, struct event *event) {
    const long long *counts = self->counts.buf;
    if (read_event(self, index, event) < 0)
        return FAILED;
    if (event->value == Py_None || !PyBytes_Check(event->key) || !PyBytes_Check(event->data))
        return UNUSUAL;
    if (counts[UPTO] >= event->now || counts[ROOM] <= 0 || event->time + self->own_reach < event->now)
        return UNUSUAL;
    if (self->epoch != counts[EPOCH]) {
        clear_shelves(self);
        self->epoch = counts[EPOCH];
    }
    int found = find(self, event);
    if (found != NOTHING && found != PAIR)
        return found;
    event->bucket = shelved(self, OWN, self->own, floor_of(event->time, self->width));
    if (event->bucket == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    int is_there = PyDict_Contains(event->bucket, event->key);
    if (is_there != 0)
        return is_there > 0 ? UNUSUAL : FAILED;
    if (found == PAIR && PyBytes_AsString(event->partner)[STATE_AT] == 'w') {
        if (!event->is_fresh)
            return UNUSUAL;
        if (meet(self, event) < 0)
            return FAILED;
    }
    return keep(self, event) < 0 ? FAILED : found;
}

/* ---- Giving ---- */

/* What is sent now is of the time of the pair, in ms. */
static int carry(struct pairs *self, PyObject *time) {
    PyObject *done = time == NULL ? NULL : PyObject_CallFunctionObjArgs(self->carry, time, NULL);
    Py_DecRef(done);
    return done == NULL ? -1 : 0;
}

static PyObject *pair_of(struct pairs *self, struct event *event) {
    const char *entry = PyBytes_AsString(event->partner);
    PyObject *data = PyBytes_FromStringAndSize(entry + VALUE_AT, PyBytes_Size(event->partner) - VALUE_AT);
    PyObject *partner = data == NULL ? NULL : PyObject_CallFunctionObjArgs(self->decode, data, NULL);
    Py_DecRef(data);
    if (partner == NULL)
        return NULL;
    PyObject *pair = self->is_left ? PyTuple_Pack(2, event->value, partner) : PyTuple_Pack(2, partner, event->value);
    Py_DecRef(partner);
    if (pair != NULL && event->then > event->time) {
        PyObject *time = PyLong_FromLongLong(event->then);
        if (carry(self, time) < 0)
            let_go(&pair);
        Py_DecRef(time);
    }
    return pair;
}

/* The next of what `slow` has brought: (time, pair). */
static PyObject *next_brought(struct pairs *self) {
    PyObject *both = PySequence_GetItem(self->brought, self->given++), *time, *pair;
    if (both == NULL)
        return NULL;
    if (!PyTuple_Check(both) || !PyArg_ParseTuple(both, "OO", &time, &pair)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "slow() has brought no tuple");
        Py_DecRef(both);
        return NULL;
    }
    pair = carry(self, time) < 0 ? NULL : itself(pair);
    Py_DecRef(both);
    return pair;
}

/* T may have moved meanwhile. */
static int look(struct pairs *self) {
    self->is_stale = 0;
    PyObject *looks = PyObject_GetAttr(self->live, LOOKS), *old = self->looks;
    int is_same = looks == old;
    self->looks = looks;
    Py_DecRef(old);
    if (looks == NULL || is_same)
        return looks == NULL ? -1 : 0;
    PyObject *ask = PyObject_GetAttr(self->live, BOUNDS);
    PyObject *said = ask == NULL ? NULL : PyObject_CallFunctionObjArgs(ask, self->tp, NULL);
    Py_DecRef(ask);
    int is_said = said != NULL && PyArg_ParseTuple(said, "LL:bounds", &self->finished, &self->floor);
    Py_DecRef(said);
    return is_said ? 0 : -1;
}

static PyObject *next_pair(struct pairs *self) {
    for (;;) {
        if (self->brought != NULL) {
            Py_ssize_t all = PySequence_Size(self->brought);
            if (all < 0)
                return NULL;
            if (self->given < all)
                return next_brought(self);
            let_go(&self->brought);
        }
        if (self->is_stale && look(self) < 0)
            return NULL;
        struct event event = {PyIter_Next(self->iterator), NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0};
        if (event.value == NULL)
            return NULL;
        Py_ssize_t index = self->index++;
        int found = arrive(self, index, &event);
        PyObject *pair = NULL;
        if (found == PAIR) {
            self->is_stale = 1;
            pair = pair_of(self, &event);
        } else if (found == UNUSUAL) {
            PyObject *at = PyLong_FromSsize_t(index);
            self->is_stale = 1;
            self->given = 0;
            self->brought = at == NULL ? NULL : PyObject_CallFunctionObjArgs(self->slow, at, event.value, NULL);
            found = self->brought == NULL ? FAILED : NOTHING;
            Py_DecRef(at);
        }
        PyObject *used[] = {event.value, event.key, event.data, event.partner, event.bucket};
        for (size_t at = 0; at < sizeof(used) / sizeof(used[0]); at++)
            Py_DecRef(used[at]);
        if (found != NOTHING)
            return pair;
    }
}

static PyObject *pairs_next(PyObject *object) {
    struct pairs *self = (struct pairs *)object;
    if (self->is_running || self->iterator == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "these pairs are being asked for already");
        return NULL;
    }
    self->is_running = 1;
    PyObject *pair = next_pair(self);
    self->is_running = 0;
    return pair;
}

/* ---- The type ---- */

static int pairs_traverse(PyObject *object, visitproc visit, void *arg) {
    struct pairs *self = (struct pairs *)object;
    Py_VISIT((PyObject *)Py_TYPE(object));
    for (PyObject **place = &self->iterator; place <= &self->brought; place++)
        Py_VISIT(*place);
    return 0;
}

static int pairs_clear(PyObject *object) {
    struct pairs *self = (struct pairs *)object;
    for (PyObject **place = &self->iterator; place <= &self->brought; place++)
        let_go(place);
    if (self->counts.obj != NULL)
        PyBuffer_Release(&self->counts);
    return 0;
}

static void pairs_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    pairs_clear(object);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DecRef((PyObject *)type);
}

/* Borrowed references so far. */
static int read_arguments(struct pairs *self, PyObject *arguments) {
    PyObject *columns, *known, *numbers, *calls, *counts;
    if (!PyArg_ParseTuple(arguments, "O!O!O!O!:Pairs", &PyTuple_Type, &columns, &PyTuple_Type, &known, &PyTuple_Type,
                          &numbers, &PyTuple_Type, &calls) ||
        !PyArg_ParseTuple(columns, "OOOOOO:columns", &self->iterator, &self->keys, &self->times, &self->offsets,
                          &self->data, &self->marks) ||
        !PyArg_ParseTuple(known, "O!O!O!O:known", &PyDict_Type, &self->own, &PyDict_Type, &self->others_fresh,
                          &PyDict_Type, &self->others_old, &counts) ||
        !PyArg_ParseTuple(numbers, "ppLLLLLL:numbers", &self->is_left, &self->waits, &self->number, &self->width,
                          &self->before, &self->after, &self->own_reach, &self->other_reach) ||
        !PyArg_ParseTuple(calls, "OOOOO:calls", &self->live, &self->tp, &self->carry, &self->slow, &self->decode))
        return -1;
    if (!PyIter_Check(self->iterator) || self->width <= 0) {
        PyErr_SetString(PyExc_ValueError, "Pairs(): no iterator, or no width");
        return -1;
    }
    return PyObject_GetBuffer(counts, &self->counts, PyBUF_WRITABLE);
}

static int take_arguments(struct pairs *self, PyObject *arguments) {
    int is_read = read_arguments(self, arguments) == 0;
    for (PyObject **place = &self->iterator; place <= &self->decode; place++)
        if (is_read)
            Py_IncRef(*place);
        else
            *place = NULL;
    if (!is_read)
        return -1;
    if (self->counts.len < COUNTS * (Py_ssize_t)sizeof(long long)) {
        PyErr_SetString(PyExc_ValueError, "Pairs(): these counts are too few");
        return -1;
    }
    self->epoch = ((long long *)self->counts.buf)[EPOCH];
    self->is_stale = 1;
    return 0;
}

static PyObject *pairs_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    if (named != NULL && PyDict_Size(named) != 0) {
        PyErr_SetString(PyExc_TypeError, "these arguments have no names");
        return NULL;
    }
    struct pairs *self = (struct pairs *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self != NULL && take_arguments(self, arguments) < 0) {
        Py_DecRef((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyType_Slot PAIRS_SLOTS[] = {
    {Py_tp_new, pairs_new},
    {Py_tp_traverse, pairs_traverse},
    {Py_tp_clear, pairs_clear},
    {Py_tp_dealloc, pairs_dealloc},
    {Py_tp_iter, itself},
    {Py_tp_iternext, pairs_next},
    {Py_tp_doc, (void *)"Pairs(columns, known, numbers, calls)\n--\n\nWhat each event of a run brings."},
    {0, NULL},
};

static PyType_Spec PAIRS = {"streamcluster._pairs.Pairs", sizeof(struct pairs), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, PAIRS_SLOTS};

static PyMethodDef FUNCTIONS[] = {
    {"written", written, METH_VARARGS,
     "written(side, bucket, bound, values, dirty, deleted)\n--\n\nWrite the rows of a bucket that somebody needs."},
    {"places", places, METH_VARARGS,
     "places(row_keys, left_ms, right_ms)\n--\n\nThe times of these rows, so much later, as places in an index."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, .m_name = "_pairs", .m_size = -1, .m_methods = FUNCTIONS};

static int add_names(void) {
    LOOKS = PyUnicode_InternFromString("looks");
    BOUNDS = PyUnicode_InternFromString("bounds");
    return LOOKS == NULL || BOUNDS == NULL ? -1 : 0;
}

PyMODINIT_FUNC PyInit__pairs(void) {
    PyObject *module = PyModule_Create(&MODULE);
    PyObject *type = module == NULL || add_names() < 0 ? NULL : PyType_FromSpec(&PAIRS);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0)
        let_go(&module);
    Py_DecRef(type);
    return module;
}
