"""The life of a change request: states, policies, services, the queue of merge runs and its faces."""
