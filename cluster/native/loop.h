/* A loop that is its own awaitable, and what each of the objects here is made of. Included by the files that have some. */

#ifndef STREAMCLUSTER_LOOP_H
#define STREAMCLUSTER_LOOP_H

#include "references.h"

/* ---- What both are: asynchronous iterators, each of which is its own awaitable ---- */

/* Now and then it waits for somebody else's awaitable, `step`. `begin` gives a value at once (1), or sets `step` (0);
 * `took` gets what a step brought, and says whether that is a value to give (1); both: -1 with an exception set. */
struct loop {
    PyObject_HEAD
    int (*begin)(struct loop *self, PyObject **value);
    int (*took)(struct loop *self, PyObject **value);
    void (*suspended)(struct loop *self);
    PyObject *step;
    /* It raised: there is nothing more to come, as of a generator that has raised. */
    int has_ended;
    /* It is in a call that may come back to it: what is borrowed from it meanwhile must stay. */
    int is_running;
    /* `aclose` was called, and what that returned is not awaited yet. */
    int is_closing;
};

static inline PySendResult end_loop(struct loop *self) {
    self->has_ended = 1;
    return PYGEN_ERROR;
}

/* Refused as by a generator that is running, without an end of what runs. */
static inline int is_refused(struct loop *self) {
    if (self->is_running)
        PyErr_SetString(PyExc_RuntimeError, "this loop is running already");
    return self->is_running;
}

static inline PySendResult advance(struct loop *self, PyObject *sent, PyObject **result) {
    for (;;) {
        *result = NULL;
        if (self->step == NULL) {
            int is_there = 0;
            if (self->has_ended)
                PyErr_SetNone(PyExc_StopAsyncIteration);
            else
                is_there = self->begin(self, result);
            if (is_there > 0)
                return PYGEN_RETURN;
            if (self->step == NULL)
                return end_loop(self);
        }
        PySendResult how = PyIter_Send(self->step, sent, result);
        if (how == PYGEN_NEXT) {
            self->suspended(self);
            return how;
        }
        let_go(&self->step);
        if (how == PYGEN_ERROR)
            return end_loop(self);
        int is_value = self->took(self, result);
        if (is_value != 0)
            return is_value > 0 ? PYGEN_RETURN : end_loop(self);
        sent = Py_None;
    }
}

static inline PySendResult drive(struct loop *self, PyObject *sent, PyObject **result) {
    *result = NULL;
    if (is_refused(self))
        return PYGEN_ERROR;
    if (self->is_closing) {
        self->is_closing = 0;
        *result = itself(Py_None);
        return PYGEN_RETURN;
    }
    self->is_running = 1;
    PySendResult how = advance(self, sent, result);
    self->is_running = 0;
    return how;
}

static inline PySendResult loop_am_send(PyObject *self, PyObject *sent, PyObject **result) {
    return drive((struct loop *)self, sent, result);
}

static inline PyObject *loop_anext(PyObject *self) {
    if (((struct loop *)self)->step == NULL)
        return itself(self);
    PyErr_SetString(PyExc_RuntimeError, "anext(): the next value is being waited for already");
    return NULL;
}

/* For who does not ask by `am_send` (a tracer, Python from 3.12 on): a value is the StopIteration's. */
static inline PyObject *as_of_iterator(PySendResult how, PyObject *result) {
    if (how != PYGEN_RETURN)
        return result;
    /* An exception: of a bare tuple its arguments would be made. */
    PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, result, NULL);
    Py_DecRef(result);
    if (stop != NULL)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_DecRef(stop);
    return NULL;
}

static inline PyObject *loop_send(PyObject *self, PyObject *sent) {
    PyObject *result;
    PySendResult how = drive((struct loop *)self, sent, &result);
    return as_of_iterator(how, result);
}

static inline PyObject *loop_next(PyObject *self) { return loop_send(self, Py_None); }

/* The value of the StopIteration that is set, which it takes; NULL: something else is set. */
static inline PyObject *value_of_stop(void) {
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return NULL;
    PyObject *type, *stop, *trace;
    PyErr_Fetch(&type, &stop, &trace);
    PyErr_NormalizeException(&type, &stop, &trace);
    PyObject *value = PyObject_GetAttrString(stop, "value");
    Py_DecRef(type);
    Py_DecRef(stop);
    Py_DecRef(trace);
    return value;
}

static inline PyObject *loop_throw(PyObject *object, PyObject *arguments) {
    struct loop *self = (struct loop *)object;
    if (is_refused(self))
        return NULL;
    if (self->step == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "nothing is being waited for");
        return NULL;
    }
    self->is_running = 1;
    PyObject *throw = PyObject_GetAttrString(self->step, "throw");
    PyObject *yielded = throw == NULL ? NULL : PyObject_CallObject(throw, arguments), *value = NULL;
    Py_DecRef(throw);
    int is_value = -1;
    if (yielded != NULL) {
        self->suspended(self);
    } else {
        let_go(&self->step);
        if ((value = value_of_stop()) != NULL)
            is_value = self->took(self, &value);
        if (is_value < 0)
            end_loop(self);
    }
    self->is_running = 0;
    if (yielded != NULL || is_value < 0)
        return yielded;
    return is_value > 0 ? as_of_iterator(PYGEN_RETURN, value) : loop_next(object);
}

static inline PyObject *loop_close(PyObject *object, PyObject *nothing) {
    (void)nothing;
    struct loop *self = (struct loop *)object;
    if (is_refused(self))
        return NULL;
    self->has_ended = 1;
    if (self->step == NULL)
        return itself(Py_None);
    self->is_running = 1;
    PyObject *close = PyObject_GetAttrString(self->step, "close");
    PyObject *answer = close == NULL ? NULL : PyObject_CallObject(close, NULL);
    Py_DecRef(close);
    let_go(&self->step);
    self->is_running = 0;
    return answer;
}

/* Whether it could be ended, as an asynchronous generator is: not while it waits for a value. */
static inline int is_over(struct loop *self) {
    if (is_refused(self))
        return 0;
    if (self->step != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "aclose(): the next value is being waited for");
        return 0;
    }
    return self->has_ended = 1;
}

#define LOOP_METHODS \
    {"send", loop_send, METH_O, NULL}, {"throw", loop_throw, METH_VARARGS, NULL}, \
    {"close", loop_close, METH_NOARGS, NULL}

#define LOOP_SLOTS \
    {Py_am_aiter, itself}, {Py_am_anext, loop_anext}, {Py_am_await, itself}, {Py_am_send, loop_am_send}, \
    {Py_tp_iter, itself}, {Py_tp_iternext, loop_next}

/* References from `first` on, up to `last`. */
static inline int visit_all(PyObject *self, PyObject **first, PyObject **last, visitproc visit, void *arg) {
    Py_VISIT((PyObject *)Py_TYPE(self));
    for (PyObject **place = first; place <= last; place++)
        Py_VISIT(*place);
    return 0;
}

static inline void free_object(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DecRef((PyObject *)type);
}

static inline PyObject *allocate(PyTypeObject *type) { return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0); }

static inline int has_names(PyObject *named) {
    if (named == NULL || PyDict_Size(named) == 0)
        return 0;
    PyErr_SetString(PyExc_TypeError, "these arguments have no names");
    return 1;
}

#endif
