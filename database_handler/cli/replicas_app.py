"""The command that shows how the read replicas are."""

from database_handler.cli.options import Run
from database_handler.cli.program import app, command
from database_handler.cli.replica_reports import CheckedReplicas

__all__: list[str] = []


@command(app, "database-handler replicas", "database-handler replicas --json")
def replicas(run: Run) -> CheckedReplicas:
    """Show the read replicas, and how far behind each is. Exit code 1: one of them does not serve."""
    with run.database() as db:
        return CheckedReplicas(replicas=db.replicas())
