/* `views[key] += 1` of a table with windows, for the event after one that was in the same window.
 *
 * In Python that is three frames, an object and some forty steps for each event: 1.3 us, of which nothing is left here
 * but the two dicts. What is not as usual is left to Python, before anything is changed: windows/window_set.py has the
 * same in Python (`_in_place`), and is what counts.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <string.h>

#include "references.h"

/* ---- Place: the window of the event before, as one table sees it ---- */

struct place {
    PyObject_HEAD
    long long start, end, until;
    /* Keys that are text, or whole numbers, are in rows as JSON has them. */
    int writes_text, writes_numbers;
    /* Of the first value of the run, its index in the columns of its batch. */
    Py_ssize_t first;
    /* That of the shard while its coroutine is at an event. */
    PyTypeObject *awake;
    /* What `table[key]` gave last, and of which key. From here on all are visited. */
    PyObject *made;
    PyObject *key;
    /* The cursor's iterator over the run in hand, how many values it has left, all of them, and what take() kept. */
    PyObject *iterator;
    PyObject *left;
    PyObject *handed;
    PyObject *kept;
    /* Of the batch. */
    PyObject *times;
    PyObject *marks;
    /* Of the operator, and the coroutine's shard with what it writes to. */
    PyObject *time;
    PyObject *shard;
    PyObject *values;
    PyObject *latest;
    PyObject *deleted;
    /* Of the window: what keys of its rows end in, its bounds, its end, and the value of a new one (NULL: ask Python). */
    PyObject *tail;
    PyObject *span;
    PyObject *last;
    PyObject *nothing;
};

static PyObject *ITERATOR, *HANDED_OUT, *FINISHED, *DIRTY, *WRITTEN, *HERE, *TOLD, *EXPECT, *WRITE_AT, *IS_NEW;
static PyTypeObject *PLACE;
/* `cursor_var.get`, the class of `table[key]`, and what the two classes do in Python. */
static PyObject *GET_CURSOR, *WINDOWS, *GET_ITEM, *SET_ITEM;
/* The place whose `made` came last. */
static struct place *CURRENT;

static int place_traverse(PyObject *object, visitproc visit, void *arg) {
    struct place *self = (struct place *)object;
    Py_VISIT((PyObject *)Py_TYPE(object));
    Py_VISIT((PyObject *)self->awake);
    for (PyObject **at = &self->made; at <= &self->nothing; at++)
        Py_VISIT(*at);
    return 0;
}

static int place_clear(PyObject *object) {
    struct place *self = (struct place *)object;
    let_go((PyObject **)&self->awake);
    for (PyObject **at = &self->made; at <= &self->nothing; at++)
        let_go(at);
    return 0;
}

static void place_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    place_clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DecRef((PyObject *)type);
}

static PyObject *place_forget(PyObject *object, PyObject *nothing) {
    (void)nothing;
    place_clear(object);
    return itself(Py_None);
}

static PyObject *place_set(PyObject *object, PyObject *arguments) {
    struct place *self = (struct place *)object;
    PyObject *iterator, *handed, *kept, *times, *marks, *time, *shard, *values, *latest, *deleted, *tail, *span, *nothing;
    long long until;
    Py_ssize_t first;
    int writes_text, writes_numbers;
    if (!PyArg_ParseTuple(arguments, "ppOO!nOO!O!OOO!O!O!O!O!LO:set", &writes_text, &writes_numbers, &iterator, &PyList_Type, &handed, &first, &kept,
                          &PyList_Type, &times, &PyList_Type, &marks, &time, &shard, &PyDict_Type, &values,
                          &PyList_Type, &latest, &PySet_Type, &deleted, &PyBytes_Type, &tail, &PyTuple_Type, &span,
                          &until, &nothing))
        return NULL;
    long long start = 0, end = 0;
    if (!PyArg_ParseTuple(span, "LL:set", &start, &end))
        return NULL;
    if (first < 0 || PyList_Size(latest) != 1) {
        PyErr_SetString(PyExc_ValueError, "set(): this is no place");
        return NULL;
    }
    PyObject *left = PyObject_GetAttrString(iterator, "__length_hint__");
    if (left == NULL)
        return NULL;
    place_clear(object);
    self->writes_text = writes_text;
    self->writes_numbers = writes_numbers;
    self->start = start;
    self->end = end;
    self->until = until;
    self->first = first;
    self->awake = (PyTypeObject *)itself((PyObject *)Py_TYPE(shard));
    self->iterator = itself(iterator);
    self->left = left;
    self->handed = itself(handed);
    self->kept = itself(kept);
    self->times = itself(times);
    self->marks = itself(marks);
    self->time = itself(time);
    self->shard = itself(shard);
    self->values = itself(values);
    self->latest = itself(latest);
    self->deleted = itself(deleted);
    self->tail = itself(tail);
    self->span = itself(span);
    self->last = itself(PyTuple_GetItem(span, 1));
    self->nothing = nothing == Py_None ? NULL : itself(nothing);
    return itself(Py_None);
}

/* ---- An event ---- */

/* What cannot be changed in place, and runs no code of anybody when it is added or compared. */
static int is_plain(PyObject *value) {
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyLong_Type || type == &PyFloat_Type || type == &PyUnicode_Type || type == &PyBytes_Type ||
           type == &PyBool_Type || value == Py_None || type == &PyComplex_Type;
}

/* Whether an attribute is below a number: 0 also when it is something else. */
static int is_below(PyObject *object, PyObject *name, long long bound) {
    PyObject *value = PyObject_GetAttr(object, name);
    int is = value != NULL && PyLong_CheckExact(value) && PyLong_AsLongLong(value) < bound && !PyErr_Occurred();
    Py_DecRef(value);
    return is;
}

/* The index of the event in hand in the columns of its batch; -1: it is not of the run of this place. */
static Py_ssize_t index_of_event(struct place *self) {
    PyObject *cursor = PyObject_CallNoArgs(GET_CURSOR);
    PyObject *iterator = cursor == NULL ? NULL : PyObject_GetAttr(cursor, ITERATOR);
    int is_here = iterator != NULL && iterator == self->iterator;
    Py_DecRef(cursor);
    Py_DecRef(iterator);
    if (!is_here)
        return -1;
    PyObject *handed_out = PyObject_GetAttr(self->kept, HANDED_OUT);
    is_here = handed_out == Py_False;
    Py_DecRef(handed_out);
    PyObject *said = is_here ? PyObject_CallNoArgs(self->left) : NULL;
    Py_ssize_t left = said == NULL ? -1 : PyLong_AsSsize_t(said), all = PyList_Size(self->handed);
    Py_DecRef(said);
    if (left < 0 || left >= all)
        return -1;
    Py_ssize_t index = self->first + all - left - 1;
    return index < PyList_Size(self->times) && index < PyList_Size(self->marks) ? index : -1;
}

/* The time of that event, a new reference, if it is in the window and that cannot be over; else NULL. */
static PyObject *time_in_window(struct place *self, Py_ssize_t index) {
    PyObject *time = PyList_GetItem(self->times, index), *mark = PyList_GetItem(self->marks, index);
    if (!PyLong_CheckExact(time) || !PyLong_CheckExact(mark))
        return NULL;
    long long at = PyLong_AsLongLong(time), watermark = PyLong_AsLongLong(mark);
    if (PyErr_Occurred() || at < self->start || at >= self->end || watermark >= self->until)
        return NULL;
    return is_below(self->time, FINISHED, self->until) ? itself(time) : NULL;
}

/* The key of the window's row, as JSON has text without anything to escape, and whole numbers; else NULL. */
static PyObject *row_key(struct place *self, PyObject *key) {
    char digits[32];
    const char *text = digits;
    Py_ssize_t length;
    int is_text = Py_TYPE(key) == &PyUnicode_Type;
    if (is_text) {
        text = PyUnicode_AsUTF8AndSize(key, &length);
        for (Py_ssize_t at = 0; text != NULL && at < length; at++)
            if ((unsigned char)text[at] < ' ' || text[at] == '"' || text[at] == '\\' || text[at] == '\x7f')
                return NULL;
    } else {
        int overflow = 0;
        long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
        if (overflow)
            return NULL;
        length = PyOS_snprintf(digits, sizeof(digits), "%lld", number);
    }
    char *end;
    Py_ssize_t rest;
    if (text == NULL || PyBytes_AsStringAndSize(self->tail, &end, &rest) < 0)
        return NULL;
    PyObject *found = PyBytes_FromStringAndSize(NULL, 1 + 2 * is_text + length + rest);
    if (found == NULL)
        return NULL;
    char *to = PyBytes_AsString(found);
    *to++ = '[';
    if (is_text)
        *to++ = '"';
    memcpy(to, text, (size_t)length);
    to += length;
    if (is_text)
        *to++ = '"';
    memcpy(to, end, (size_t)rest);
    return found;
}

/* The value of a window before its first event; NULL without an error: Python is to find out whether it is new. */
static PyObject *begin(struct place *self) {
    if (self->nothing == NULL)
        return NULL;
    PyObject *is_new = PyObject_CallMethodObjArgs(self->shard, IS_NEW, self->last, NULL);
    int is = is_new == NULL ? -1 : PyObject_IsTrue(is_new);
    Py_DecRef(is_new);
    if (is <= 0)
        return NULL;
    if (!is_below(self->time, TOLD, self->end + 1)) {
        if (PyErr_Occurred())
            return NULL;
        PyObject *told = PyObject_CallMethodObjArgs(self->time, EXPECT, self->last, NULL);
        if (told == NULL)
            return NULL;
        Py_DecRef(told);
    }
    return itself(self->nothing);
}

static int keep(struct place *self, PyObject *identity, PyObject *value, PyObject *time, int is_new) {
    PyObject *latest = PyList_GetItem(self->latest, 0);
    if (!PyLong_CheckExact(latest) || PyLong_AsLongLong(time) < PyLong_AsLongLong(latest)) {
        PyObject *done = PyObject_CallMethodObjArgs(self->shard, WRITE_AT, identity, value, time, NULL);
        Py_DecRef(done);
        return done == NULL ? -1 : 0;
    }
    PyObject *dirty = PyObject_GetAttr(self->shard, DIRTY), *pair = PyTuple_Pack(2, value, time);
    int failed = dirty == NULL || pair == NULL || PyList_SetItem(self->latest, 0, itself(time)) < 0 ||
                 PyDict_SetItem(self->values, identity, value) < 0 || PyDict_SetItem(dirty, identity, pair) < 0 ||
                 (is_new && PySet_Size(self->deleted) > 0 && PySet_Discard(self->deleted, identity) < 0);
    Py_DecRef(dirty);
    Py_DecRef(pair);
    return failed ? -1 : 0;
}

/* What the event makes of its window: 1; 0 without an error: it is for Python to do, and nothing is changed. */
static int change(struct place *self, PyObject *windows, binaryfunc fun, PyObject *other) {
    PyObject *key = self->key;
    if (!is_plain(other) || Py_TYPE(self->shard) != self->awake ||
        !((self->writes_text && Py_TYPE(key) == &PyUnicode_Type) ||
          (self->writes_numbers && Py_TYPE(key) == &PyLong_Type)))
        return 0;
    Py_ssize_t index = index_of_event(self);
    PyObject *time = index < 0 ? NULL : time_in_window(self, index);
    PyObject *identity = time == NULL ? NULL : row_key(self, key);
    if (identity == NULL) {
        Py_DecRef(time);
        return 0;
    }
    PyObject *before = PyDict_GetItemWithError(self->values, identity);
    int is_new = before == NULL, done = 0;
    before = is_new ? begin(self) : itself(before);
    if (before != NULL && is_plain(before)) {
        PyObject *value = fun(before, other);
        done = value == NULL || is_plain(value) ? -1 : 0;
        if (value != NULL && done < 0 && keep(self, identity, value, time, is_new) == 0) {
            PyObject *written = PyTuple_Pack(2, self->span, value);
            done = written != NULL && PyObject_SetAttr(windows, WRITTEN, written) == 0 ? 1 : -1;
            Py_DecRef(written);
        }
        Py_DecRef(value);
    }
    Py_DecRef(before);
    Py_DecRef(identity);
    Py_DecRef(time);
    return done;
}

static PyObject *power(PyObject *value, PyObject *other) { return PyNumber_Power(value, other, Py_None); }

/* In the order of `OPERATORS`. */
enum { ADD, SUB, MUL, TRUEDIV, FLOORDIV, MOD, POW, LSHIFT, RSHIFT, AND, XOR, OR, OPERATORS_COUNT };

static PyObject *IN_PYTHON[OPERATORS_COUNT];

static PyObject *in_place(PyObject *windows, PyObject *other, binaryfunc fun, int which) {
    struct place *place = CURRENT;
    if (place != NULL && place->made == windows && place->iterator != NULL) {
        Py_IncRef((PyObject *)place);
        int done = change(place, windows, fun, other);
        Py_DecRef((PyObject *)place);
        if (done > 0)
            return itself(windows);
        if (done < 0)
            return NULL;
        PyErr_Clear();
    }
    return PyObject_CallFunctionObjArgs(IN_PYTHON[which], windows, other, NULL);
}

#define OPERATOR(name, fun, which) \
    static PyObject *windows_##name(PyObject *self, PyObject *other) { return in_place(self, other, fun, which); }

OPERATOR(add, PyNumber_Add, ADD)
OPERATOR(sub, PyNumber_Subtract, SUB)
OPERATOR(mul, PyNumber_Multiply, MUL)
OPERATOR(truediv, PyNumber_TrueDivide, TRUEDIV)
OPERATOR(floordiv, PyNumber_FloorDivide, FLOORDIV)
OPERATOR(mod, PyNumber_Remainder, MOD)
OPERATOR(pow, power, POW)
OPERATOR(lshift, PyNumber_Lshift, LSHIFT)
OPERATOR(rshift, PyNumber_Rshift, RSHIFT)
OPERATOR(and, PyNumber_And, AND)
OPERATOR(xor, PyNumber_Xor, XOR)
OPERATOR(or, PyNumber_Or, OR)

static PyMethodDef OPERATORS[OPERATORS_COUNT] = {
    {"__iadd__", windows_add, METH_O, NULL},           {"__isub__", windows_sub, METH_O, NULL},
    {"__imul__", windows_mul, METH_O, NULL},           {"__itruediv__", windows_truediv, METH_O, NULL},
    {"__ifloordiv__", windows_floordiv, METH_O, NULL}, {"__imod__", windows_mod, METH_O, NULL},
    {"__ipow__", windows_pow, METH_O, NULL},           {"__ilshift__", windows_lshift, METH_O, NULL},
    {"__irshift__", windows_rshift, METH_O, NULL},     {"__iand__", windows_and, METH_O, NULL},
    {"__ixor__", windows_xor, METH_O, NULL},           {"__ior__", windows_or, METH_O, NULL},
};

/* ---- `table[key]` and `table[key] = value` ---- */

static PyObject *get_item(PyObject *table, PyObject *key) {
    PyObject *made = PyObject_CallFunctionObjArgs(WINDOWS, table, key, NULL);
    PyObject *here = made == NULL ? NULL : PyObject_GetAttr(table, HERE);
    if (made != NULL && here == NULL)
        PyErr_Clear();
    if (here != NULL && Py_TYPE(here) == PLACE && ((struct place *)here)->iterator != NULL) {
        struct place *place = (struct place *)here, *before = CURRENT;
        PyObject *old_made = place->made, *old_key = place->key;
        place->made = itself(made);
        place->key = itself(key);
        CURRENT = (struct place *)itself(here);
        Py_DecRef(old_made);
        Py_DecRef(old_key);
        Py_DecRef((PyObject *)before);
    }
    Py_DecRef(here);
    return made;
}

static PyObject *set_item(PyObject *table, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "__setitem__ takes a key and a value");
        return NULL;
    }
    /* Python gives back what an operator in place has returned. */
    if ((PyObject *)Py_TYPE(arguments[1]) == WINDOWS)
        return itself(Py_None);
    return PyObject_CallFunctionObjArgs(SET_ITEM, table, arguments[0], arguments[1], NULL);
}

static PyMethodDef GETTING = {"__getitem__", get_item, METH_O, "Its windows, seen from the event in hand."};
static PyMethodDef SETTING = {"__setitem__", (PyCFunction)(void (*)(void))set_item, METH_FASTCALL,
                              "Set those that the event in hand is in."};

static int give(PyTypeObject *type, PyMethodDef *method, PyObject **in_python) {
    PyObject *before = PyObject_GetAttrString((PyObject *)type, method->ml_name);
    PyObject *after = before == NULL ? NULL : PyDescr_NewMethod(type, method);
    int failed = after == NULL || PyObject_SetAttrString((PyObject *)type, method->ml_name, after) < 0;
    Py_DecRef(after);
    if (failed) {
        Py_DecRef(before);
        return -1;
    }
    *in_python = before;
    return 0;
}

static PyObject *attach(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *table, *windows, *get_cursor;
    if (!PyArg_ParseTuple(arguments, "O!O!O:attach", &PyType_Type, &table, &PyType_Type, &windows, &get_cursor))
        return NULL;
    if (WINDOWS != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "attach() was called before");
        return NULL;
    }
    WINDOWS = itself(windows);
    GET_CURSOR = itself(get_cursor);
    for (int which = 0; which < OPERATORS_COUNT; which++)
        if (give((PyTypeObject *)windows, &OPERATORS[which], &IN_PYTHON[which]) < 0)
            return NULL;
    if (give((PyTypeObject *)table, &GETTING, &GET_ITEM) < 0 || give((PyTypeObject *)table, &SETTING, &SET_ITEM) < 0)
        return NULL;
    return itself(Py_None);
}

/* ---- The module ---- */

static PyMethodDef PLACE_METHODS[] = {
    {"set", place_set, METH_VARARGS,
     "set(writes_text, writes_numbers, iterator, values, first, kept, times, marks, time, shard, shard_values, latest, "
     "deleted, tail, span, until, nothing)\n--\n\nThe event in hand was in this window, and the next ones of its run may be."},
    {"forget", place_forget, METH_NOARGS, "forget()\n--\n\nNothing is known of the next event."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot PLACE_SLOTS[] = {
    {Py_tp_traverse, place_traverse},
    {Py_tp_clear, place_clear},
    {Py_tp_dealloc, place_dealloc},
    {Py_tp_methods, PLACE_METHODS},
    {Py_tp_doc, (void *)"Place()\n--\n\nThe window of the event before."},
    {0, NULL},
};

static PyType_Spec PLACE_SPEC = {"streamcluster._place.Place", sizeof(struct place), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, PLACE_SLOTS};

static PyMethodDef METHODS[] = {
    {"attach", attach, METH_VARARGS,
     "attach(table, windows, get_cursor)\n--\n\nHave these classes do what is usual here, and the rest as they are."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "_place", .m_size = -1, .m_methods = METHODS};

static int intern_all(void) {
    struct {
        PyObject **name;
        const char *text;
    } names[] = {{&ITERATOR, "iterator"}, {&HANDED_OUT, "handed_out"}, {&FINISHED, "finished"}, {&DIRTY, "dirty"},
                 {&WRITTEN, "_written"},  {&HERE, "here"},             {&TOLD, "told"},         {&EXPECT, "expect"},
                 {&WRITE_AT, "write_at"}, {&IS_NEW, "is_new_in_order"}};
    for (size_t at = 0; at < sizeof(names) / sizeof(names[0]); at++)
        if ((*names[at].name = PyUnicode_InternFromString(names[at].text)) == NULL)
            return -1;
    return 0;
}

PyMODINIT_FUNC PyInit__place(void) {
    PyObject *module = PyModule_Create(&MODULE);
    PLACE = module == NULL || intern_all() < 0 ? NULL : (PyTypeObject *)PyType_FromSpec(&PLACE_SPEC);
    if (PLACE != NULL && PyModule_AddType(module, PLACE) == 0)
        return module;
    Py_DecRef(module);
    return NULL;
}
