"""The engine: runs the streams of a worker's tasks over batches of records and a store protocol.

Records in; outputs, changelog entries and positions out. It knows asyncio and the declarations, and no Kafka, process,
socket or disk: the worker's runtime and the test driver are its two shells.
"""
