"""Models: typed values, decoded in one pass, and references to their fields.

pydantic v2 models are accepted wherever a Record class is; they are told by their methods, pydantic is not imported.
"""

from __future__ import annotations

from functools import partial

from msgspec import field

from ..codecs.record_options import RecordOptions
from ..codecs.typed import is_pydantic, is_record
from ..faust_names import MODELS, missing
from .record import Record
from .references import field_getter, field_name, field_owner, field_type, without_none

__all__ = [
    "Record",
    "RecordOptions",
    "field",
    "field_getter",
    "field_name",
    "field_owner",
    "field_type",
    "is_pydantic",
    "is_record",
    "without_none",
]

# Not as a function of its own, which would hide misspelled names from type checkers.
globals()["__getattr__"] = partial(missing, known=MODELS, owner="streamcluster.models")
