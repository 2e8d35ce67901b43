/* What a commit does for each row of a table whose rows have dates (dates.py, engine/row_dates.py), in one pass, and what
 * is made of the timestamps of records (engine/event_time/watermarks.py).
 *
 * In Python that is half a microsecond a row, and a count by windows writes nearly as many rows as it has events. What is
 * not as usual is left to Python: then these functions return None, and have changed nothing that Python would not.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <string.h>

#include "references.h"

/* The bytes of a date before the value: its milliseconds from the middle of all 64-bit numbers on, the highest first. */
enum { DATE_BYTES = 8 };

/* As times.py has it: before every date. */
static const long long NO_TIME = -(1LL << 62);

static void write_date(char *to, long long at) {
    unsigned long long place = (unsigned long long)at ^ (1ULL << 63);
    for (int index = 0; index < DATE_BYTES; index++)
        to[index] = (char)(place >> (8 * (DATE_BYTES - 1 - index)));
}

static long long read_date(const char *from) {
    unsigned long long place = 0;
    for (int index = 0; index < DATE_BYTES; index++)
        place = place << 8 | (unsigned char)from[index];
    return (long long)(place ^ (1ULL << 63));
}

/* Whether it is a whole number of 64 bits, which is in `number` then. */
static int is_number(PyObject *object, long long *number) {
    int overflow = 0;
    if (!PyLong_CheckExact(object))
        return 0;
    *number = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow;
}

/* Value and time of what was written: borrowed, from a tuple that somebody else keeps; 0: it is something else. */
static int is_dated(PyObject *pair, PyObject **value, long long *at) {
    if (!PyTuple_CheckExact(pair) || PyTuple_Size(pair) != 2)
        return 0;
    *value = PyTuple_GetItem(pair, 0);
    return is_number(PyTuple_GetItem(pair, 1), at);
}

/* ---- encoded ---- */

static PyObject *dated(long long at, const char *value, Py_ssize_t length) {
    PyObject *row = PyBytes_FromStringAndSize(NULL, DATE_BYTES + length);
    if (row != NULL) {
        char *to = PyBytes_AsString(row);
        write_date(to, at);
        memcpy(to + DATE_BYTES, value, (size_t)length);
    }
    return row;
}

/* The row of a value; NULL without an error: it is for Python to make. */
static PyObject *row_of(PyObject *value, long long at, PyObject *encode, int writes_numbers) {
    char digits[32];
    long long number;
    if (writes_numbers && is_number(value, &number))
        return dated(at, digits, PyOS_snprintf(digits, sizeof(digits), "%lld", number));
    PyObject *data = PyObject_CallFunctionObjArgs(encode, value, NULL), *row = NULL;
    char *bytes;
    Py_ssize_t length;
    if (data != NULL && PyBytes_CheckExact(data) && PyBytes_AsStringAndSize(data, &bytes, &length) == 0)
        row = dated(at, bytes, length);
    Py_DecRef(data);
    return row;
}

/* Adds the row of one key: 1; 0 without an error: it is for Python to do. */
static int encode_one(PyObject *changes, PyObject *dates, PyObject *encode, int writes_numbers, PyObject *key, PyObject *pair) {
    PyObject *value;
    long long at, before;
    if (!is_dated(pair, &value, &at))
        return 0;
    PyObject *known = PyDict_GetItemWithError(dates, key);
    if (known != NULL && !is_number(known, &before))
        return 0;
    if (known != NULL && before > at)
        at = before;
    PyObject *row = PyErr_Occurred() ? NULL : row_of(value, at, encode, writes_numbers);
    int is_done = row == NULL ? 0 : PyDict_SetItem(changes, key, row) == 0;
    Py_DecRef(row);
    return is_done;
}

static PyObject *encoded(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *dirty, *dates, *encode, *deleted, *key, *pair;
    int writes_numbers, is_done = 1;
    if (!PyArg_ParseTuple(arguments, "O!O!OpO:encoded", &PyDict_Type, &dirty, &PyDict_Type, &dates, &encode,
                          &writes_numbers, &deleted))
        return NULL;
    PyObject *changes = PyDict_New();
    Py_ssize_t position = 0, count = PyDict_Size(dirty);
    while (changes != NULL && is_done && PyDict_Next(dirty, &position, &key, &pair)) {
        Py_IncRef(key);
        Py_IncRef(pair);
        if (!PyBytes_CheckExact(key))
            is_done = 0;
        else if (pair == deleted)
            is_done = PyDict_SetItem(changes, key, Py_None) == 0;
        else
            is_done = encode_one(changes, dates, encode, writes_numbers, key, pair);
        if (PyDict_Size(dirty) != count && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "encoded(): what was written has changed meanwhile");
            is_done = 0;
        }
        Py_DecRef(key);
        Py_DecRef(pair);
    }
    if (changes != NULL && is_done)
        return changes;
    Py_DecRef(changes);
    return PyErr_Occurred() ? NULL : itself(Py_None);
}

/* ---- note ---- */

/* 1: noted, or there is nothing to note; 0 without an error: it is for Python to do. */
static int note_one(PyObject *dates, PyObject *deleted, PyObject *key, PyObject *pair) {
    PyObject *value;
    long long at, before = NO_TIME;
    if (!is_dated(pair, &value, &at))
        return 0;
    PyObject *known = PyDict_GetItemWithError(dates, key);
    if (known == NULL && PyErr_Occurred())
        return 0;
    if (known != NULL && !is_number(known, &before))
        return 0;
    if (before >= at)
        return 1;
    int is_deleted = PySet_Size(deleted) > 0 ? PySet_Contains(deleted, key) : 0;
    if (is_deleted)
        return is_deleted > 0;
    return PyDict_SetItem(dates, key, PyTuple_GetItem(pair, 1)) == 0;
}

static PyObject *note(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *dates, *dirty, *marker, *deleted, *key, *pair;
    int is_done = 1;
    if (!PyArg_ParseTuple(arguments, "O!O!OO!:note", &PyDict_Type, &dates, &PyDict_Type, &dirty, &marker, &PySet_Type,
                          &deleted))
        return NULL;
    Py_ssize_t position = 0;
    while (is_done && PyDict_Next(dirty, &position, &key, &pair)) {
        if (pair == marker)
            continue;
        Py_IncRef(key);
        Py_IncRef(pair);
        is_done = note_one(dates, deleted, key, pair);
        Py_DecRef(key);
        Py_DecRef(pair);
    }
    if (PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(is_done);
}

/* ---- columns ---- */

struct columns {
    PyObject *keys;
    PyObject *values;
    PyObject *times;
    /* Keys of rows that are gone, and where they are in the columns. */
    PyObject *gone;
    PyObject *places;
};

/* Sets an item of a list that was made for it, and takes the reference; -1: there is none. */
static int put(PyObject *list, Py_ssize_t at, PyObject *item) {
    return item == NULL ? -1 : PyList_SetItem(list, at, item);
}

static int add(PyObject *list, PyObject *item) {
    int failed = item == NULL || PyList_Append(list, item) < 0;
    Py_DecRef(item);
    return failed ? -1 : 0;
}

/* 1; 0 without an error: it is for Python to do. */
static int split_one(struct columns *to, Py_ssize_t at, PyObject *key, PyObject *row) {
    char *data;
    Py_ssize_t length;
    if (put(to->keys, at, itself(key)) < 0)
        return 0;
    if (row == Py_None)
        return put(to->values, at, itself(Py_None)) == 0 && put(to->times, at, itself(Py_None)) == 0 &&
               add(to->gone, itself(key)) == 0 && add(to->places, PyLong_FromSsize_t(at)) == 0;
    if (!PyBytes_CheckExact(row) || PyBytes_AsStringAndSize(row, &data, &length) < 0 || length < DATE_BYTES)
        return 0;
    return put(to->values, at, PyBytes_FromStringAndSize(data + DATE_BYTES, length - DATE_BYTES)) == 0 &&
           put(to->times, at, PyLong_FromLongLong(read_date(data))) == 0;
}

static PyObject *columns(PyObject *module, PyObject *changes) {
    (void)module;
    if (!PyDict_CheckExact(changes)) {
        PyErr_SetString(PyExc_TypeError, "columns() takes a dict");
        return NULL;
    }
    PyObject *key, *row, *found = NULL;
    Py_ssize_t position = 0, at = 0, count = PyDict_Size(changes);
    struct columns to = {PyList_New(count), PyList_New(count), PyList_New(count), PyList_New(0), PyList_New(0)};
    int is_done = to.keys && to.values && to.times && to.gone && to.places;
    /* Nothing here runs code of anybody, so there are as many as there were. */
    while (is_done && at < count && PyDict_Next(changes, &position, &key, &row))
        is_done = split_one(&to, at++, key, row);
    if (is_done && at == count)
        found = PyTuple_Pack(5, to.keys, to.values, to.times, to.gone, to.places);
    Py_DecRef(to.keys);
    Py_DecRef(to.values);
    Py_DecRef(to.times);
    Py_DecRef(to.gone);
    Py_DecRef(to.places);
    return found != NULL || PyErr_Occurred() ? found : itself(Py_None);
}

/* ---- running_max ---- */

static PyObject *running_max(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *times, *largest;
    long long most, at;
    if (!PyArg_ParseTuple(arguments, "O!O:running_max", &PyList_Type, &times, &largest))
        return NULL;
    if (!is_number(largest, &most))
        return itself(Py_None);
    Py_ssize_t count = PyList_Size(times);
    PyObject *found = PyList_New(count);
    /* Nothing here runs code of anybody, so what is borrowed stays. */
    for (Py_ssize_t index = 0; found != NULL && index < count; index++) {
        PyObject *time = PyList_GetItem(times, index);
        if (!is_number(time, &at)) {
            Py_DecRef(found);
            return itself(Py_None);
        }
        if (at > most) {
            most = at;
            largest = time;
        }
        PyList_SetItem(found, index, itself(largest));
    }
    return found;
}

/* ---- due ---- */

/* Where the window begins in the key of a row; -1: nowhere. */
static Py_ssize_t tail_at(const char *data, Py_ssize_t length) {
    Py_ssize_t at = length - 2;
    while (at >= 0 && (data[at] != ',' || data[at + 1] != '['))
        at--;
    return at;
}

/* Keys come in runs of one window: what was said of the one before. */
struct windows {
    PyObject *tail;
    int are_due;
};

/* Whether the window of a key is due; -1: an error, or without one it is for Python to say. */
static int is_key_due(struct windows *last, PyObject *key, PyObject *is_due) {
    char *data, *tail;
    Py_ssize_t length, rest;
    if (!PyBytes_CheckExact(key) || PyBytes_AsStringAndSize(key, &data, &length) < 0)
        return -1;
    if (last->tail != NULL && PyBytes_AsStringAndSize(last->tail, &tail, &rest) == 0 && length >= rest &&
        memcmp(data + length - rest, tail, (size_t)rest) == 0)
        return last->are_due;
    Py_ssize_t at = tail_at(data, length);
    PyObject *next = at < 0 ? NULL : PyBytes_FromStringAndSize(data + at, length - at), *before = last->tail;
    PyObject *said = next == NULL ? NULL : PyObject_CallFunctionObjArgs(is_due, next, NULL);
    last->tail = next;
    last->are_due = said == NULL ? -1 : PyObject_IsTrue(said);
    Py_DecRef(before);
    Py_DecRef(said);
    return last->are_due;
}

static PyObject *due(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *dirty, *is_due, *key, *pair;
    int said = 0;
    if (!PyArg_ParseTuple(arguments, "O!O:due", &PyDict_Type, &dirty, &is_due))
        return NULL;
    PyObject *found = PyList_New(0);
    struct windows last = {NULL, 0};
    Py_ssize_t position = 0, count = PyDict_Size(dirty);
    while (found != NULL && said >= 0 && PyDict_Next(dirty, &position, &key, &pair)) {
        /* What was deleted has no value and time. */
        if (!PyTuple_CheckExact(pair))
            continue;
        Py_IncRef(key);
        said = is_key_due(&last, key, is_due);
        if (said > 0 && PyList_Append(found, key) < 0)
            said = -1;
        if (PyDict_Size(dirty) != count && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "due(): what was written has changed meanwhile");
            said = -1;
        }
        Py_DecRef(key);
    }
    Py_DecRef(last.tail);
    if (found != NULL && said >= 0)
        return found;
    Py_DecRef(found);
    return PyErr_Occurred() ? NULL : itself(Py_None);
}

/* ---- without, forget ---- */

static PyObject *without(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *dirty, *gone, *key, *value;
    if (!PyArg_ParseTuple(arguments, "O!O!:without", &PyDict_Type, &dirty, &PyList_Type, &gone))
        return NULL;
    PyObject *left = PyDict_New();
    Py_ssize_t position = 0, count = PyDict_Size(dirty), at = 0;
    int failed = left == NULL;
    while (!failed && PyDict_Next(dirty, &position, &key, &value)) {
        if (at < PyList_Size(gone) && PyList_GetItem(gone, at) == key) {
            at++;
            continue;
        }
        Py_IncRef(key);
        Py_IncRef(value);
        /* A key may be of a class of anybody. */
        failed = PyDict_SetItem(left, key, value) < 0;
        if (!failed && PyDict_Size(dirty) != count) {
            PyErr_SetString(PyExc_RuntimeError, "without(): what was written has changed meanwhile");
            failed = 1;
        }
        Py_DecRef(key);
        Py_DecRef(value);
    }
    if (!failed)
        return left;
    Py_DecRef(left);
    return NULL;
}

static PyObject *forget(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *entries, *keys;
    if (!PyArg_ParseTuple(arguments, "O!O!:forget", &PyDict_Type, &entries, &PyList_Type, &keys))
        return NULL;
    int failed = 0;
    for (Py_ssize_t at = 0; !failed && at < PyList_Size(keys); at++) {
        PyObject *key = itself(PyList_GetItem(keys, at));
        int is_there = PyDict_Contains(entries, key);
        failed = is_there < 0 || (is_there && PyDict_DelItem(entries, key) < 0);
        Py_DecRef(key);
    }
    return failed ? NULL : itself(Py_None);
}

/* ---- The module ---- */

static PyMethodDef METHODS[] = {
    {"encoded", encoded, METH_VARARGS,
     "encoded(dirty, dates, encode, writes_numbers, deleted)\n--\n\nWhat was written, as rows; None: Python is to do it."},
    {"note", note, METH_VARARGS,
     "note(dates, dirty, marker, deleted)\n--\n\nNote the dates of what was written; False: Python is to do it."},
    {"columns", columns, METH_O,
     "columns(changes)\n--\n\nKeys, values and times of rows, and the keys and places of those that are gone; None: Python is to "
     "do it."},
    {"running_max", running_max, METH_VARARGS,
     "running_max(times, first)\n--\n\nThe largest of all up to each; None: Python is to do it."},
    {"due", due, METH_VARARGS,
     "due(dirty, is_due)\n--\n\nThe keys of what was written whose windows are due, by what their keys end in; None: Python is "
     "to do it."},
    {"without", without, METH_VARARGS,
     "without(dirty, gone)\n--\n\nThe same but for these keys, which are those objects, in their order."},
    {"forget", forget, METH_VARARGS, "forget(entries, keys)\n--\n\nDelete what is there of these."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "_rows", .m_size = -1, .m_methods = METHODS};

PyMODINIT_FUNC PyInit__rows(void) { return PyModule_Create(&MODULE); }
