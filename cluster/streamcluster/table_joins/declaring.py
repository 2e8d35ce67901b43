"""How tables are joined: `a.join(b)`, `a.left_join(b, on=Account.owner_id)`, `a.outer_join(b)`."""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import AppError, NotOffered


class Owner(Protocol):
    """The app of a table."""

    def join_tables(self, left: Any, other: Any, how: str, on: Any, name: str | None) -> Any:
        """The table that comes of it."""
        ...

    def suppress_table(self, table: Any, name: str | None, **bounds: Any) -> Any:
        """The same of `table.suppress`."""
        ...


class Joining:
    """The methods of a table that join it with another one. What comes of it is a table as others, but read only.

    Its rows are pairs of what the two tables have, under the keys of this one; a side that has nothing is None. A
    change of either table changes it, in a commit after that. Tables with the same windows are joined by key and
    window: keys are (key, Window) then, and a row is there until its window is over in both tables.
    """

    name: str
    # The app that has declared the table.
    owner: Owner | None = None
    # Those who write it may say of which time a change is, and the changelog has that.
    is_stamped = False

    def belong_to(self, owner: Owner) -> None:
        """This app declares it."""
        self.owner = owner

    def be_stamped(self) -> None:
        """Have the changelog take the times of changes: what is called before the app is started."""
        self.is_stamped = True

    def join(self, other: Any, *, on: Any = None, name: str | None = None) -> Any:
        """The rows that have a partner in the other table.

        Args:
            other: a table of the same app.
            on: what of a row of this table is the key of its partner: a field (`Account.owner_id`) or a sync or async
                function of the value; None of it: there is no partner. Left out: rows of the same key are partners.
            name: of the table that comes of it; "LEFT-join-RIGHT" when left out.
        """
        return self._joined("join", other, on, name)

    inner_join = join

    def left_join(self, other: Any, *, on: Any = None, name: str | None = None) -> Any:
        """As `join`, with the rows of this table that have no partner too."""
        return self._joined("left-join", other, on, name)

    def outer_join(self, other: Any, *, on: None = None, name: str | None = None) -> Any:
        """As `left_join` by equal keys, with the rows of the other table that have no partner too. It takes no on=."""
        if on is not None:
            raise NotOffered(
                f"table {self.name!r}: outer_join(on=...) is not offered: rows of the other table that nobody names "
                "have no key in the result. Use left_join(on=...); or let an agent write this table's rows under the "
                "other key to a table of its own, and outer_join that."
            )
        return self._joined("outer-join", other, None, name)

    def _joined(self, how: str, other: Any, on: Any, name: str | None) -> Any:
        if self.owner is None:
            raise AppError(f"table {self.name!r}: only tables that app.Table(...) has made can be joined.")
        return self.owner.join_tables(self, other, how, on, name)
