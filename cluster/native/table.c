/* `table[key]` and `table[key] = value` at an event, of an entry that is in memory and plain.
 *
 * In Python these are two frames with some twenty steps each, twice what the dicts in them take. What is not as usual is
 * left to Python, before anything is changed: tables.py has the same in Python, and is what counts.
 */

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include "references.h"

static PyObject *LIVE_SHARD, *PLAIN, *DIRTY, *MISSING;
/* The class of tables, what it does in Python, and the class of a shard whose coroutine is at an event. */
static PyTypeObject *TABLE, *VIEW;
static PyObject *GET_ITEM, *SET_ITEM;
/* The table that was asked for last, and what gives its shard. */
static PyObject *LAST_TABLE, *LAST_LIVE;

/* What memory has as it is, and never equals one of another type in it (SIMPLE_KEYS). */
static int is_simple(PyObject *key) { return Py_TYPE(key) == &PyUnicode_Type || Py_TYPE(key) == &PyLong_Type; }

/* What cannot be changed in place (IMMUTABLE). */
static int is_plain(PyObject *value) {
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyLong_Type || type == &PyFloat_Type || type == &PyUnicode_Type || type == &PyBytes_Type ||
           type == &PyBool_Type || value == Py_None || type == &PyComplex_Type;
}

/* What gives the table's shard, a new reference; NULL with an error set. */
static PyObject *live_of(PyObject *table) {
    if (table == LAST_TABLE)
        return itself(LAST_LIVE);
    PyObject *live = PyObject_GetAttr(table, LIVE_SHARD);
    if (live == NULL)
        return NULL;
    PyObject *old_table = LAST_TABLE, *old_live = LAST_LIVE;
    LAST_TABLE = itself(table);
    LAST_LIVE = itself(live);
    Py_DecRef(old_table);
    Py_DecRef(old_live);
    return live;
}

/* The shard of the running coroutine, a new reference, if that is at an event; else NULL, perhaps with an error set. */
static PyObject *view_of(PyObject *table) {
    PyObject *live = live_of(table);
    PyObject *view = live == NULL ? NULL : PyObject_CallNoArgs(live);
    Py_DecRef(live);
    if (view != NULL && Py_TYPE(view) != VIEW)
        let_go(&view);
    return view;
}

/* Its plain values, those that are none, the keys that were deleted, and those that have nothing: a new reference; else
 * NULL, as above. */
static PyObject *plain_of(PyObject *view) {
    PyObject *plain = view == NULL ? NULL : PyObject_GetAttr(view, PLAIN);
    if (plain != NULL && !(PyTuple_CheckExact(plain) && PyTuple_Size(plain) == 4 &&
                           PyDict_CheckExact(PyTuple_GetItem(plain, 0)) &&
                           PyDict_CheckExact(PyTuple_GetItem(plain, 1)) && PySet_Check(PyTuple_GetItem(plain, 2)) &&
                           PySet_Check(PyTuple_GetItem(plain, 3))))
        let_go(&plain);
    return plain;
}

/* A key that is not among the plain values has nothing, as a look into the store has found. */
static int is_absent(PyObject *plain, PyObject *key) {
    return PyDict_Size(PyTuple_GetItem(plain, 1)) == 0 && PySet_Contains(PyTuple_GetItem(plain, 3), key) == 1;
}

static PyObject *get_item(PyObject *table, PyObject *key) {
    PyObject *view = is_simple(key) ? view_of(table) : NULL;
    PyObject *plain = plain_of(view);
    PyObject *found = plain == NULL ? NULL : PyDict_GetItemWithError(PyTuple_GetItem(plain, 0), key);
    Py_IncRef(found);
    int is_missing = plain != NULL && found == NULL && !PyErr_Occurred() && is_absent(plain, key);
    Py_DecRef(plain);
    Py_DecRef(view);
    if (found != NULL)
        return found;
    PyErr_Clear();
    if (is_missing)
        return PyObject_CallMethodObjArgs(table, MISSING, key, NULL);
    return PyObject_CallFunctionObjArgs(GET_ITEM, table, key, NULL);
}

/* 1: it is set; 0: it is for Python to do, and nothing is changed, perhaps with an error set; -1: an error.
 * As in Python, of a table of plain values from which nothing was deleted since the last cut. */
static int set_in(PyObject *view, PyObject *key, PyObject *value) {
    PyObject *plain = plain_of(view);
    int is_usual = plain != NULL && PyDict_Size(PyTuple_GetItem(plain, 1)) == 0 &&
                   PySet_Size(PyTuple_GetItem(plain, 2)) == 0;
    PyObject *dirty = is_usual ? PyObject_GetAttr(view, DIRTY) : NULL;
    int is_set = 0;
    if (dirty != NULL && PyDict_CheckExact(dirty))
        is_set = PyDict_SetItem(PyTuple_GetItem(plain, 0), key, value) == 0 && PyDict_SetItem(dirty, key, value) == 0
                     ? 1 : -1;
    Py_DecRef(plain);
    Py_DecRef(dirty);
    return is_set;
}

static PyObject *set_item(PyObject *table, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "__setitem__ takes a key and a value");
        return NULL;
    }
    PyObject *view = is_simple(arguments[0]) && is_plain(arguments[1]) ? view_of(table) : NULL;
    int is_set = view == NULL ? 0 : set_in(view, arguments[0], arguments[1]);
    Py_DecRef(view);
    if (is_set != 0)
        return is_set > 0 ? itself(Py_None) : NULL;
    PyErr_Clear();
    return PyObject_CallFunctionObjArgs(SET_ITEM, table, arguments[0], arguments[1], NULL);
}

static PyMethodDef GETTING = {"__getitem__", get_item, METH_O, "The value of a key, or the table's default."};
static PyMethodDef SETTING = {"__setitem__", (PyCFunction)(void (*)(void))set_item, METH_FASTCALL,
                              "Set the value of a key, with the event in hand."};

/* Puts the method in the place of the class's function in Python, which it notes. */
static int give(PyTypeObject *type, PyMethodDef *method, PyObject **in_python) {
    PyObject *before = PyObject_GetAttrString((PyObject *)type, method->ml_name), *old = *in_python;
    PyObject *after = before == NULL ? NULL : PyDescr_NewMethod(type, method);
    if (after == NULL) {
        Py_DecRef(before);
        return -1;
    }
    *in_python = before;
    Py_DecRef(old);
    int failed = PyObject_SetAttrString((PyObject *)type, method->ml_name, after);
    Py_DecRef(after);
    return failed;
}

static PyObject *detach(PyObject *module, PyObject *nothing) {
    (void)module;
    (void)nothing;
    /* What it did in Python stays noted: a call of these methods may be under way. */
    if (TABLE != NULL && (PyObject_SetAttrString((PyObject *)TABLE, GETTING.ml_name, GET_ITEM) < 0 ||
                          PyObject_SetAttrString((PyObject *)TABLE, SETTING.ml_name, SET_ITEM) < 0))
        return NULL;
    let_go((PyObject **)&TABLE);
    let_go(&LAST_TABLE);
    let_go(&LAST_LIVE);
    return itself(Py_None);
}

static PyObject *attach(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *table, *view, *old = (PyObject *)VIEW;
    if (!PyArg_ParseTuple(arguments, "O!O!:attach", &PyType_Type, &table, &PyType_Type, &view))
        return NULL;
    if ((PyObject *)TABLE == table && old == view)
        return itself(Py_None);
    if (TABLE != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "attach() was called before");
        return NULL;
    }
    VIEW = (PyTypeObject *)itself(view);
    Py_DecRef(old);
    if (give((PyTypeObject *)table, &GETTING, &GET_ITEM) < 0)
        return NULL;
    TABLE = (PyTypeObject *)itself(table);
    if (give(TABLE, &SETTING, &SET_ITEM) == 0)
        return itself(Py_None);
    return NULL;
}

static PyMethodDef METHODS[] = {
    {"attach", attach, METH_VARARGS,
     "attach(table, view)\n--\n\nHave that class of tables do here what is usual, with shards of that class."},
    {"detach", detach, METH_NOARGS, "detach()\n--\n\nHave it do all as it did before."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "_table", .m_size = -1, .m_methods = METHODS};

static int intern_all(void) {
    struct {
        PyObject **name;
        const char *text;
    } names[] = {{&LIVE_SHARD, "live_shard"}, {&PLAIN, "plain"}, {&DIRTY, "dirty"}, {&MISSING, "__missing__"}};
    for (size_t at = 0; at < sizeof(names) / sizeof(names[0]); at++)
        if ((*names[at].name = PyUnicode_InternFromString(names[at].text)) == NULL)
            return -1;
    return 0;
}

PyMODINIT_FUNC PyInit__table(void) { return intern_all() < 0 ? NULL : PyModule_Create(&MODULE); }
