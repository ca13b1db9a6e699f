"""Doorbells: each looks at durable rows and calls a service. Safe to run twice."""

from celery import Task, shared_task

from notifications.services import delivering, digests, dispatching, forgetting


@shared_task(name="notifications.dispatch")
def dispatch() -> None:
    """Turn events that wait in the outbox into deliveries."""
    dispatching.dispatch()


@shared_task(name="notifications.deliver", bind=True)
def deliver(task: "Task[[int], None]", delivery_id: int) -> None:
    """Send what waits for the receiver of a delivery."""
    delivering.deliver(delivery_id=delivery_id, worker=task.request.hostname or "direct call")


@shared_task(name="notifications.sweep")
def sweep() -> None:
    """Dispatch and ring for what was lost, or has to be tried again."""
    dispatching.dispatch()
    delivering.sweep()


@shared_task(name="notifications.send_digests")
def send_digests() -> None:
    """One mail a day for those who want that."""
    digests.send_digests()


@shared_task(name="notifications.forget_old")
def forget_old() -> None:
    """Remove what is kept no longer of notifications, deliveries and the outbox."""
    forgetting.forget_old()
