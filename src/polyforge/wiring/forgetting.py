"""The rooms that forget people, as a gateway worker has them."""

from polyforge.batch.batches.forgetting import BatchesOfPeople
from polyforge.database.database import Database
from polyforge.flows.running.forgetting import RunsOfPeople
from polyforge.jobs.forgetting import JobsOfPeople
from polyforge.kernel.clock import Clock
from polyforge.tenancy.erasing.records import Rooms
from polyforge.wiring.objects import ObjectPlatform


def rooms_of_people(database: Database, objects: ObjectPlatform, clock: Clock) -> Rooms:
    """Whatever users leave above the tenancy."""
    return Rooms(
        jobs=JobsOfPeople(database, clock),
        runs=RunsOfPeople(database, objects.store),
        batches=BatchesOfPeople(database, objects.store),
        files=objects.of_people,
    )
