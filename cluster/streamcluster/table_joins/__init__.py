"""Joins of tables: a table whose rows are those of two others, and follow their changes.

    left's changelog --+--> an agent, what it has read of both --> the result        by equal keys
    right's changelog -+

    left's changelog ----> NAME-left ---- subscription, by foreign key ----> NAME-right <---- right's changelog
    the result <---------- NAME-left <--- answer, to the row that asked ---- NAME-right      by a foreign key

They are agents over the changes of tables, so all that agents have is theirs: exactly once, restarts, dead letters.
`declaring`: what users call; `sides`: the rows that they keep; `equal`, `foreign`: what a change makes of them.
"""
