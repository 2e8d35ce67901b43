/* The rows of one run that come due of a table with windows: each goes to its handler, and then it is deleted.
 *
 * In Python a window costs 1.3 us beside what the handler does: its key is decoded, three frames are entered, and five
 * dicts are asked. Here that is 0.3 us. `Closed` is its own awaitable: a handler that waits is waited for, as `await`
 * does. Without this module it is Python, with the same result: engine/close_body.py.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <string.h>

#include "loop.h"

struct closed {
    struct loop loop;
    /* The next row, as an index. */
    Py_ssize_t next;
    /* Keys that are text are in rows as JSON has them. */
    int reads_text;
    /* That of the view while its coroutine is at an event; NULL: rows are not deleted. */
    PyTypeObject *awake;
    /* The handler, the keys of the rows, the cursor's iterator over what they hold. */
    PyObject *handle;
    PyObject *rows;
    PyObject *iterator;
    /* The key and the bounds of a row's key, a window of bounds, and what waits for a result that is no coroutine. */
    PyObject *decode;
    PyObject *window_of;
    PyObject *wait_for;
    /* The view, and what it has of rows (shard_view.py). */
    PyObject *view;
    PyObject *values;
    PyObject *old;
    PyObject *dates;
    PyObject *objects;
    PyObject *baseline;
    PyObject *lent;
    PyObject *deleted;
    PyObject *gone;
    /* What the key of the row before ended in, its window, and the row in hand. */
    PyObject *tail;
    PyObject *window;
    PyObject *row;
};

static PyObject *DIRTY = NULL, *DISCARD = NULL;
static PyTypeObject *COROUTINE = NULL;

/* ---- A row's key ---- */

/* Text that JSON has as it is, between these quotes; NULL without an error: Python is to look at it. */
static PyObject *text_of(const char *from, Py_ssize_t length) {
    if (length < 2 || from[0] != '"' || from[length - 1] != '"')
        return NULL;
    for (Py_ssize_t at = 1; at < length - 1; at++)
        if ((unsigned char)from[at] < ' ' || from[at] == '"' || from[at] == '\\')
            return NULL;
    PyObject *text = PyUnicode_DecodeUTF8(from + 1, length - 2, "strict");
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return text;
}

/* Its bounds are not those of the row before. */
static int change_window(struct closed *self, const char *data, Py_ssize_t length, PyObject *decoded) {
    Py_ssize_t at = length - 2;
    while (at >= 0 && (data[at] != ',' || data[at + 1] != '['))
        at--;
    PyObject *window = PyObject_CallFunctionObjArgs(self->window_of, PyTuple_GetItem(decoded, 1),
                                                    PyTuple_GetItem(decoded, 2), NULL);
    PyObject *tail = window == NULL || at < 0 ? NULL : PyBytes_FromStringAndSize(data + at, length - at);
    PyObject *old[] = {self->tail, self->window};
    self->tail = tail;
    self->window = window;
    Py_DecRef(old[0]);
    Py_DecRef(old[1]);
    return window == NULL || PyErr_Occurred() ? -1 : 0;
}

/* The key of the row in hand, without its window, which is set; NULL: it cannot be decoded. */
static PyObject *key_of_row(struct closed *self) {
    char *data, *tail;
    Py_ssize_t length, rest;
    if (PyBytes_AsStringAndSize(self->row, &data, &length) < 0)
        return NULL;
    int is_same = 0;
    if (self->tail != NULL && PyBytes_AsStringAndSize(self->tail, &tail, &rest) == 0)
        is_same = length > rest && data[0] == '[' && memcmp(data + length - rest, tail, (size_t)rest) == 0;
    if (is_same && self->reads_text) {
        PyObject *text = text_of(data + 1, length - rest - 1);
        if (text != NULL || PyErr_Occurred())
            return text;
    }
    PyObject *decoded = PyObject_CallFunctionObjArgs(self->decode, self->row, NULL);
    if (decoded == NULL)
        return NULL;
    PyObject *key = NULL;
    if (!PyTuple_Check(decoded) || PyTuple_Size(decoded) != 3)
        PyErr_SetString(PyExc_TypeError, "a row's key is a key, a start and an end");
    else if (is_same || change_window(self, data, length, decoded) == 0)
        key = itself(PyTuple_GetItem(decoded, 0));
    Py_DecRef(decoded);
    return key;
}

/* ---- A deletion ---- */

/* Take it out, if it is there. */
static int drop(PyObject *entries, PyObject *row) {
    if (PyDict_Size(entries) <= 0)
        return 0;
    PyObject *found = PyDict_GetItemWithError(entries, row);
    if (found == NULL)
        return PyErr_Occurred() ? -1 : 0;
    return PyDict_DelItem(entries, row) < 0 ? -1 : 1;
}

/* As `ShardView.discard`, of the row in hand. */
static int discard(struct closed *self) {
    PyObject *row = self->row, *done;
    int failed = 0;
    if (self->awake == NULL)
        ;
    else if (Py_TYPE(self->view) != self->awake || PyDict_Size(self->objects) > 0 || PyDict_Size(self->baseline) > 0 ||
             PyDict_Size(self->lent) > 0) {
        done = PyObject_CallMethodObjArgs(self->view, DISCARD, row, NULL);
        failed = done == NULL;
        Py_DecRef(done);
    } else {
        int was_here = drop(self->values, row), was_old = was_here < 0 ? -1 : drop(self->old, row);
        failed = was_old < 0 || (was_here + was_old > 0 && drop(self->dates, row) < 0) ||
                 PySet_Add(self->deleted, row) < 0;
        PyObject *dirty = failed ? NULL : PyObject_GetAttr(self->view, DIRTY);
        failed = dirty == NULL || PyDict_SetItem(dirty, row, self->gone) < 0;
        Py_DecRef(dirty);
    }
    let_go(&self->row);
    return failed ? -1 : 0;
}

/* ---- A row after the other ---- */

/* Has the next row handled; 1: it is done with; 0: its handler waits, and `step` is set, or there is no more. */
static int handle_next(struct closed *self) {
    if (self->next >= PyList_Size(self->rows))
        return 0;
    PyObject *value = PyIter_Next(self->iterator);
    if (value == NULL)
        return PyErr_Occurred() ? -1 : 0;
    let_go(&self->row);
    self->row = itself(PyList_GetItem(self->rows, self->next));
    PyObject *key = self->row == NULL ? NULL : key_of_row(self), *result = NULL;
    if (key != NULL)
        result = PyObject_CallFunctionObjArgs(self->handle, key, self->window, value, NULL);
    Py_DecRef(key);
    Py_DecRef(value);
    self->next++;
    if (result != NULL && result != Py_None && Py_TYPE(result) != COROUTINE) {
        /* None: it is nothing that can be awaited. */
        PyObject *waiting = PyObject_CallFunctionObjArgs(self->wait_for, result, NULL);
        Py_DecRef(result);
        result = waiting;
    }
    if (result == NULL)
        return -1;
    if (result != Py_None) {
        self->loop.step = result;
        return 0;
    }
    Py_DecRef(result);
    return discard(self) < 0 ? -1 : 1;
}

static int closed_begin(struct loop *loop, PyObject **value) {
    struct closed *self = (struct closed *)loop;
    int done = 1;
    while (done > 0)
        done = handle_next(self);
    if (done < 0 || loop->step != NULL)
        return done;
    *value = itself(Py_None);
    return 1;
}

static int closed_took(struct loop *loop, PyObject **result) {
    let_go(result);
    return discard((struct closed *)loop);
}

static void closed_suspended(struct loop *loop) { (void)loop; }

static PyObject *closed_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    PyObject *handle, *rows, *iterator, *decode, *window_of, *wait_for, *view, *columns, *awake, *gone;
    PyObject *values, *old, *dates, *objects, *baseline, *lent, *deleted;
    int reads_text;
    if (has_names(named) ||
        !PyArg_ParseTuple(arguments, "OO!OpOOOOOO!O:Closed", &handle, &PyList_Type, &rows, &iterator, &reads_text,
                          &decode, &window_of, &wait_for, &view, &awake, &PyTuple_Type, &columns, &gone) ||
        !PyArg_ParseTuple(columns, "O!O!O!O!O!O!O!:Closed", &PyDict_Type, &values, &PyDict_Type, &old, &PyDict_Type,
                          &dates, &PyDict_Type, &objects, &PyDict_Type, &baseline, &PyDict_Type, &lent, &PySet_Type,
                          &deleted))
        return NULL;
    if (!PyIter_Check(iterator) || !(awake == Py_None || PyType_Check(awake))) {
        PyErr_SetString(PyExc_TypeError, "Closed(): this is no iterator, or no class");
        return NULL;
    }
    struct closed *self = (struct closed *)allocate(type);
    if (self == NULL)
        return NULL;
    self->loop.begin = closed_begin;
    self->loop.took = closed_took;
    self->loop.suspended = closed_suspended;
    self->reads_text = reads_text;
    self->awake = awake == Py_None ? NULL : (PyTypeObject *)itself(awake);
    PyObject *given[] = {handle, rows,   iterator, decode,  window_of, wait_for, view,   values,
                         old,    dates,  objects,  baseline, lent,     deleted,  gone};
    for (size_t at = 0; at < sizeof(given) / sizeof(given[0]); at++)
        (&self->handle)[at] = itself(given[at]);
    return (PyObject *)self;
}

static int closed_traverse(PyObject *object, visitproc visit, void *arg) {
    struct closed *self = (struct closed *)object;
    Py_VISIT(self->loop.step);
    Py_VISIT((PyObject *)self->awake);
    return visit_all(object, &self->handle, &self->row, visit, arg);
}

static int closed_clear(PyObject *object) {
    struct closed *self = (struct closed *)object;
    self->loop.has_ended = 1;
    let_go(&self->loop.step);
    let_go((PyObject **)&self->awake);
    for (PyObject **place = &self->handle; place <= &self->row; place++)
        let_go(place);
    return 0;
}

static void closed_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    closed_clear(self);
    free_object(self);
}

/* ---- Many keys of rows ---- */

static PyObject *all_end_in(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *rows;
    const char *tail;
    char *data;
    Py_ssize_t rest, length;
    if (!PyArg_ParseTuple(arguments, "O!y#:all_end_in", &PyList_Type, &rows, &tail, &rest))
        return NULL;
    for (Py_ssize_t at = 0; at < PyList_Size(rows); at++) {
        if (PyBytes_AsStringAndSize(PyList_GetItem(rows, at), &data, &length) < 0)
            return NULL;
        if (length < rest || memcmp(data + length - rest, tail, (size_t)rest) != 0)
            return itself(Py_False);
    }
    return itself(Py_True);
}

/* ---- The module ---- */

static PyMethodDef METHODS[] = {
    {"all_end_in", all_end_in, METH_VARARGS, "all_end_in(row_keys, tail)\n--\n\nWhether all of these end in those bytes."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef CLOSED_METHODS[] = {
    LOOP_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot CLOSED_SLOTS[] = {
    {Py_am_await, itself},
    {Py_am_send, loop_am_send},
    {Py_tp_iter, itself},
    {Py_tp_iternext, loop_next},
    {Py_tp_new, closed_new},
    {Py_tp_traverse, closed_traverse},
    {Py_tp_clear, closed_clear},
    {Py_tp_dealloc, closed_dealloc},
    {Py_tp_methods, CLOSED_METHODS},
    {Py_tp_doc, (void *)"Closed(handle, rows, iterator, reads_text, decode, window_of, wait_for, view, awake, columns, gone)\n"
                        "--\n\nHas these rows handled and deleted, one after the other, when it is awaited."},
    {0, NULL},
};

static PyType_Spec CLOSED = {"streamcluster._close.Closed", sizeof(struct closed), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, CLOSED_SLOTS};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "_close", .m_size = -1, .m_methods = METHODS};

PyMODINIT_FUNC PyInit__close(void) {
    PyObject *module = PyModule_Create(&MODULE), *types = PyImport_ImportModule("types");
    PyObject *type = PyType_FromSpec(&CLOSED);
    COROUTINE = types == NULL ? NULL : (PyTypeObject *)PyObject_GetAttrString(types, "CoroutineType");
    DIRTY = PyUnicode_InternFromString("dirty");
    DISCARD = PyUnicode_InternFromString("discard");
    int added = module == NULL || type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_DecRef(types);
    Py_DecRef(type);
    if (added == 0 && COROUTINE != NULL && DIRTY != NULL && DISCARD != NULL)
        return module;
    Py_DecRef(module);
    return NULL;
}
