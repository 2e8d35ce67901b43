/* What each of these files does with references. */

#ifndef STREAMCLUSTER_REFERENCES_H
#define STREAMCLUSTER_REFERENCES_H

static inline PyObject *itself(PyObject *object) {
    Py_IncRef(object);
    return object;
}

static inline void let_go(PyObject **place) {
    PyObject *object = *place;
    *place = NULL;
    Py_DecRef(object);
}

#endif
