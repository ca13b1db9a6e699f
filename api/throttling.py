"""How many calls somebody may still make, said with each answer.

``RateLimit-Policy`` and ``RateLimit`` as draft-ietf-httpapi-ratelimit-headers has them: of each policy its quota ``q``
in a window of ``w`` seconds, how many remain (``r``) and in how many seconds more will (``t``).
"""

import math
from collections.abc import Iterable

from rest_framework.throttling import BaseThrottle, SimpleRateThrottle


def limits_told(throttles: Iterable[BaseThrottle]) -> dict[str, str]:
    """The headers for throttles that were asked whether a call is allowed; none where nothing is limited."""
    counted = [one for one in throttles if isinstance(one, SimpleRateThrottle) and hasattr(one, "history")]
    policies, states = [], []
    for one in counted:
        quota, window = int(vars(one)["num_requests"]), int(vars(one)["duration"])
        oldest = one.history[-1] if one.history else one.now
        left = max(0, quota - len(one.history))
        seconds = max(0, math.ceil(window - (one.now - oldest))) if one.history else 0
        policies.append(f'"{one.scope}";q={quota};w={window}')
        states.append(f'"{one.scope}";r={left};t={seconds}')
    if not policies:
        return {}
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
