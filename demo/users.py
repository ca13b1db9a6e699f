"""The people of the demo: made by ``seed_demo``, printed by the demo command. Never made anywhere else."""

from dataclasses import dataclass
from typing import Literal

DEMO_PASSWORD = "headgate-demo"  # noqa: S105  (public on purpose: the demo answers on the loopback address only)


@dataclass(frozen=True)
class DemoUser:
    """One person with the role they have in the demo's project; ``operator`` has staff rights as well."""

    username: str
    first_name: str
    last_name: str
    role: Literal["owner", "contributor", "viewer"]
    operator: bool
    may: str


DEMO_USERS = (
    DemoUser(
        "olivia", "Olivia", "Okafor", "owner", False, "reviews, overrides gates, changes settings and members"
    ),
    DemoUser(
        "carl",
        "Carl",
        "Castillo",
        "contributor",
        False,
        "proposes, comments, reviews, merges what is approved",
    ),
    DemoUser("vera", "Vera", "Vogel", "viewer", False, "reads"),
    DemoUser("adam", "Adam", "Adeyemi", "viewer", True, "reads; operates the installation in /admin/"),
)
