/* The way of an event from its run to the records that are sent, without a step of Python of our own.
 *
 * An asynchronous generator costs about 60 ns a value, and there are two around the user's code: one hands out the
 * values of runs, the other is the loop over what an agent yields. `Values` is the first in C, `Gathered` the second.
 * Without this module both are Python, with the same result: streams.py, engine/agent_body.py.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <limits.h>

#include "loop.h"

static PyObject *RUN = NULL, *ITERATOR = NULL, *ZERO = NULL;

/* ---- Values: those of a stream's runs ---- */

struct values {
    struct loop loop;
    PyObject *next_run;
    PyObject *cursor;
    /* The cursor's, over the run in hand. */
    PyObject *iterator;
};

static int values_begin(struct loop *loop, PyObject **value) {
    struct values *self = (struct values *)loop;
    if (self->iterator != NULL) {
        if ((*value = PyIter_Next(self->iterator)) != NULL)
            return 1;
        let_go(&self->iterator);
        if (PyErr_Occurred())
            return -1;
    }
    loop->step = PyObject_CallNoArgs(self->next_run);
    return 0;
}

/* A run, with the cursor set on it; None: the intake has nothing, and wants to be asked again. */
static int values_took(struct loop *loop, PyObject **run) {
    struct values *self = (struct values *)loop;
    int is_run = *run != Py_None;
    let_go(run);
    if (!is_run)
        return 0;
    PyObject *values = PyObject_GetAttr(self->cursor, ITERATOR);
    /* Whatever has values: PyIter_Next takes nothing but iterators. */
    self->iterator = values == NULL ? NULL : PyObject_GetIter(values);
    Py_DecRef(values);
    return self->iterator == NULL ? -1 : 0;
}

static void values_suspended(struct loop *loop) { (void)loop; }

/* What is left of the run in hand is the cursor's. */
static PyObject *values_aclose(PyObject *object, PyObject *nothing) {
    (void)nothing;
    struct values *self = (struct values *)object;
    if (!is_over(&self->loop))
        return NULL;
    let_go(&self->iterator);
    self->loop.is_closing = 1;
    return itself(object);
}

static PyObject *values_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    PyObject *next_run, *cursor;
    if (has_names(named) || !PyArg_ParseTuple(arguments, "OO:Values", &next_run, &cursor))
        return NULL;
    struct values *self = (struct values *)allocate(type);
    if (self == NULL)
        return NULL;
    self->loop.begin = values_begin;
    self->loop.took = values_took;
    self->loop.suspended = values_suspended;
    self->next_run = itself(next_run);
    self->cursor = itself(cursor);
    return (PyObject *)self;
}

static int values_traverse(PyObject *object, visitproc visit, void *arg) {
    struct values *self = (struct values *)object;
    Py_VISIT(self->loop.step);
    return visit_all(object, &self->next_run, &self->iterator, visit, arg);
}

static int values_clear(PyObject *object) {
    struct values *self = (struct values *)object;
    self->loop.has_ended = 1;
    let_go(&self->loop.step);
    let_go(&self->next_run);
    let_go(&self->cursor);
    let_go(&self->iterator);
    return 0;
}

static void values_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    values_clear(self);
    free_object(self);
}

/* ---- Gathered: what an agent yields, of which most goes straight into the columns of its topic ---- */

struct gathered {
    struct loop loop;
    unaryfunc anext;
    PyTypeObject *event;
    long long bytes_max;
    /* While it keeps values itself: timestamps above are looked at, and so is a topic of so many records. */
    long long sure;
    Py_ssize_t look_at;
    Py_ssize_t first;
    int keeps;
    PyObject *values;
    PyObject *encode;
    PyObject *cursor;
    /* The run in hand, its values, how many of them are left, and the timestamps of its batch. */
    PyObject *run;
    PyObject *handed;
    PyObject *left;
    PyObject *times;
    PyObject *keys;
    PyObject *encoded;
    PyObject *timestamps;
};

static int gathered_begin(struct loop *loop, PyObject **value) {
    (void)value;
    struct gathered *self = (struct gathered *)loop;
    loop->step = self->anext(self->values);
    return 0;
}

static void gathered_suspended(struct loop *loop) { ((struct gathered *)loop)->keeps = 0; }

/* The timestamp of the event in hand; NULL: it is not the usual case. */
static PyObject *time_of_event(struct gathered *self) {
    PyObject *run = PyObject_GetAttr(self->cursor, RUN);
    int is_same = run == self->run;
    Py_DecRef(run);
    if (!is_same || PyList_Size(self->encoded) >= self->look_at)
        return NULL;
    PyObject *said = PyObject_CallNoArgs(self->left);
    Py_ssize_t left = said == NULL ? -1 : PyLong_AsSsize_t(said), all = PyList_Size(self->handed);
    Py_DecRef(said);
    if (left < 0 || left >= all)
        return NULL;
    PyObject *time = itself(PyList_GetItem(self->times, self->first + (all - left)));
    /* 0 is one object; any other is asked for its number only where there is a bound. */
    int is_usual = time != NULL && time != ZERO;
    if (is_usual && self->sure < LLONG_MAX)
        is_usual = PyLong_AsLongLong(time) <= self->sure && !PyErr_Occurred();
    if (!is_usual)
        let_go(&time);
    return time;
}

static int keep(struct gathered *self, PyObject *data, PyObject *time) {
    return PyList_Append(self->keys, Py_None) < 0 || PyList_Append(self->encoded, data) < 0 ||
                   PyList_Append(self->timestamps, time) < 0 ? -1 : 0;
}

/* Keeps a value; 1: it is not the usual one, and Python is to do that, and to say what is wrong with it. */
static int gathered_took(struct loop *loop, PyObject **value) {
    struct gathered *self = (struct gathered *)loop;
    PyObject *time = self->keeps && Py_TYPE(*value) != self->event ? time_of_event(self) : NULL;
    if (PyErr_Occurred())
        PyErr_Clear();
    int is_kept = 1;
    if (time != NULL) {
        PyObject *data = PyObject_CallFunctionObjArgs(self->encode, *value, NULL);
        if (data != NULL && PyBytes_Check(data) && PyBytes_Size(data) <= self->bytes_max)
            is_kept = keep(self, data, time) == 0 ? 0 : -1;
        else if (data == NULL)
            is_kept = PyErr_ExceptionMatches(PyExc_Exception) ? 1 : -1;
        Py_DecRef(data);
        Py_DecRef(time);
    }
    if (is_kept > 0) {
        PyErr_Clear();
        self->keeps = 0;
    } else {
        let_go(value);
    }
    return is_kept;
}

/* From the next value on, until something is not as usual. */
static PyObject *gathered_keep(PyObject *object, PyObject *arguments) {
    struct gathered *self = (struct gathered *)object;
    PyObject *run, *handed, *left, *times, *keys, *encoded, *timestamps;
    Py_ssize_t first, look_at;
    long long sure;
    if (is_refused(&self->loop) ||
        !PyArg_ParseTuple(arguments, "OO!OO!nO!O!O!nL:keep", &run, &PyList_Type, &handed, &left, &PyList_Type, &times,
                          &first, &PyList_Type, &keys, &PyList_Type, &encoded, &PyList_Type, &timestamps, &look_at,
                          &sure))
        return NULL;
    /* One more or less than an index: it is added to counts. */
    if (first < -1 || first > PyList_Size(times)) {
        PyErr_SetString(PyExc_ValueError, "keep(): the first is not one of these times");
        return NULL;
    }
    PyObject *old[] = {self->run, self->handed, self->left, self->times, self->keys, self->encoded, self->timestamps};
    self->run = itself(run);
    self->handed = itself(handed);
    self->left = itself(left);
    self->times = itself(times);
    self->keys = itself(keys);
    self->encoded = itself(encoded);
    self->timestamps = itself(timestamps);
    self->first = first;
    self->look_at = look_at;
    self->sure = sure;
    self->keeps = 1;
    for (size_t at = 0; at < sizeof(old) / sizeof(old[0]); at++)
        Py_DecRef(old[at]);
    return itself(Py_None);
}

/* The generator is closed, in which `finally` may await. */
static PyObject *gathered_aclose(PyObject *object, PyObject *nothing) {
    (void)nothing;
    struct gathered *self = (struct gathered *)object;
    if (!is_over(&self->loop) || self->values == NULL)
        return NULL;
    self->keeps = 0;
    PyObject *aclose = PyObject_GetAttrString(self->values, "aclose");
    PyObject *awaitable = aclose == NULL ? NULL : PyObject_CallNoArgs(aclose);
    Py_DecRef(aclose);
    return awaitable;
}

static PyObject *gathered_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    PyObject *values, *cursor, *encode, *event;
    long long bytes_max;
    if (has_names(named) || !PyArg_ParseTuple(arguments, "OOOO!L:Gathered", &values, &cursor, &encode, &PyType_Type,
                                              &event, &bytes_max))
        return NULL;
    unaryfunc anext = (unaryfunc)PyType_GetSlot(Py_TYPE(values), Py_am_anext);
    if (anext == NULL) {
        PyErr_SetString(PyExc_TypeError, "these values are no asynchronous iterator");
        return NULL;
    }
    struct gathered *self = (struct gathered *)allocate(type);
    if (self == NULL)
        return NULL;
    self->loop.begin = gathered_begin;
    self->loop.took = gathered_took;
    self->loop.suspended = gathered_suspended;
    self->anext = anext;
    self->event = (PyTypeObject *)itself(event);
    self->bytes_max = bytes_max;
    self->values = itself(values);
    self->encode = itself(encode);
    self->cursor = itself(cursor);
    return (PyObject *)self;
}

static int gathered_traverse(PyObject *object, visitproc visit, void *arg) {
    struct gathered *self = (struct gathered *)object;
    Py_VISIT(self->loop.step);
    Py_VISIT((PyObject *)self->event);
    return visit_all(object, &self->values, &self->timestamps, visit, arg);
}

static int gathered_clear(PyObject *object) {
    struct gathered *self = (struct gathered *)object;
    self->keeps = 0;
    self->loop.has_ended = 1;
    let_go(&self->loop.step);
    let_go((PyObject **)&self->event);
    for (PyObject **place = &self->values; place <= &self->timestamps; place++)
        let_go(place);
    return 0;
}

static void gathered_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    gathered_clear(self);
    free_object(self);
}

/* ---- The module ---- */

static PyMethodDef VALUES_METHODS[] = {
    LOOP_METHODS,
    {"aclose", values_aclose, METH_NOARGS, "aclose()\n--\n\nEnd it: no further value comes."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef GATHERED_METHODS[] = {
    LOOP_METHODS,
    {"aclose", gathered_aclose, METH_NOARGS, "aclose()\n--\n\nEnd it: no further value comes."},
    {"keep", gathered_keep, METH_VARARGS,
     "keep(run, values, left, times, first, keys, encoded, timestamps, look_at, sure)\n--\n\n"
     "Append to these columns what comes next of this run, and give it to nobody, until something is not as usual."},
    {NULL, NULL, 0, NULL},
};

#define DOCUMENTED(text) {Py_tp_doc, (void *)(text)}

static PyType_Slot VALUES_SLOTS[] = {
    LOOP_SLOTS,
    {Py_tp_new, values_new},
    {Py_tp_traverse, values_traverse},
    {Py_tp_clear, values_clear},
    {Py_tp_dealloc, values_dealloc},
    {Py_tp_methods, VALUES_METHODS},
    DOCUMENTED("Values(next_run, cursor)\n--\n\nThe values of the runs that `next_run` brings: over `cursor.iterator`."),
    {0, NULL},
};

static PyType_Slot GATHERED_SLOTS[] = {
    LOOP_SLOTS,
    {Py_tp_new, gathered_new},
    {Py_tp_traverse, gathered_traverse},
    {Py_tp_clear, gathered_clear},
    {Py_tp_dealloc, gathered_dealloc},
    {Py_tp_methods, GATHERED_METHODS},
    DOCUMENTED("Gathered(values, cursor, encode, event_type, bytes_max)\n--\n\nThe values that `keep` does not take."),
    {0, NULL},
};

static PyType_Spec VALUES = {"streamcluster._loop.Values", sizeof(struct values), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, VALUES_SLOTS};
static PyType_Spec GATHERED = {"streamcluster._loop.Gathered", sizeof(struct gathered), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, GATHERED_SLOTS};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "_loop", .m_size = -1};

static int add_type(PyObject *module, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    int added = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_DecRef(type);
    return added;
}

PyMODINIT_FUNC PyInit__loop(void) {
    PyObject *module = PyModule_Create(&MODULE);
    RUN = PyUnicode_InternFromString("run");
    ITERATOR = PyUnicode_InternFromString("iterator");
    ZERO = PyLong_FromLong(0);
    if (module != NULL && RUN != NULL && ZERO != NULL && ITERATOR != NULL && add_type(module, &VALUES) == 0 &&
        add_type(module, &GATHERED) == 0)
        return module;
    Py_DecRef(module);
    return NULL;
}
