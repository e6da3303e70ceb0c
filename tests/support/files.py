"""Nobody uploaded anything."""

from polyforge.database.scopes import Scope


class NoFiles:
    """For what forgets people where no files are kept."""

    async def forget(self, scope: Scope, user_id: str) -> tuple[int, bool]:
        """There is nothing to remove."""
        del scope, user_id
        return 0, True
