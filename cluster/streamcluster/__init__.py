"""streamcluster: stream processing for Python, on Kafka, exactly once.

What users import. The names are Faust's where Faust has them.
"""

from __future__ import annotations

from functools import partial

from .agents import Agent
from .app import App
from .codecs import Codec
from .config.credentials import GSSAPICredentials, OAuthCredentials, SASLCredentials, SSLCredentials
from .errors import (
    AppError,
    ConfigurationError,
    DecodeError,
    ImproperlyConfigured,
    NotOffered,
    Skip,
    StreamclusterError,
    ValidationError,
)
from .events import Event, Message, current_event
from .faust_names import MODULE, missing
from .ids import TP
from .models import Record
from .policies import ErrorPolicy, retry
from .settings import Settings
from .streams import Stream
from .tables import Table
from .topics import Topic
from .windows.faust_windows import HoppingWindow, TumblingWindow

__all__ = [
    "TP",
    "Agent",
    "App",
    "AppError",
    "Codec",
    "ConfigurationError",
    "DecodeError",
    "ErrorPolicy",
    "Event",
    "GSSAPICredentials",
    "HoppingWindow",
    "ImproperlyConfigured",
    "Message",
    "NotOffered",
    "OAuthCredentials",
    "Record",
    "SASLCredentials",
    "SSLCredentials",
    "Settings",
    "Skip",
    "Stream",
    "StreamclusterError",
    "Table",
    "Topic",
    "TumblingWindow",
    "ValidationError",
    "current_event",
    "retry",
]

# Not as a function of its own, which would hide misspelled names from type checkers.
globals()["__getattr__"] = partial(missing, known=MODULE, owner="streamcluster")
