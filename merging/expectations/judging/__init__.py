"""How a suite is judged on a merged result: one module for each kind of judge (``expectation.Judge``)."""
